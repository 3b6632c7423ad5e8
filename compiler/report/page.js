// Buttons that save a figure as it is shown: as SVG, and as PNG of three times the size. Without this script the page lacks nothing else.
(() => {
  const probe = document.createElement('span');
  probe.hidden = true;
  document.body.append(probe);
  const valueOf = (colour) => { probe.style.color = colour; return getComputedStyle(probe).color; };

  /** The drawing that is shown, by itself: variables replaced by their colours, on the page's paper. */
  const standalone = (figure) => {
    const shown = [...figure.querySelectorAll('.drawing > svg')].find((s) => s.getClientRects().length > 0), svg = shown.cloneNode(true);
    const { width, height } = shown.viewBox.baseVal, margin = 16;
    svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
    svg.removeAttribute('class');
    svg.setAttribute('viewBox', `${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`);
    svg.setAttribute('width', width + 2 * margin);
    svg.setAttribute('height', height + 2 * margin);
    svg.insertAdjacentHTML('afterbegin', `<rect x="${-margin}" y="${-margin}" width="${width + 2 * margin}" height="${height + 2 * margin}" fill="var(--card)"/>`);
    const text = new XMLSerializer().serializeToString(svg).replace(/var\(--[\w-]+\)/g, valueOf);
    return { text, width: width + 2 * margin, height: height + 2 * margin };
  };

  const save = (url, name) => Object.assign(document.createElement('a'), { href: url, download: name }).click();
  const dataUrl = (text) => `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  const asSvg = (figure) => save(dataUrl(standalone(figure).text), `${figure.dataset.name}.svg`);
  const asPng = async (figure) => {
    const { text, width, height } = standalone(figure), picture = new Image(), scale = 3;
    picture.src = dataUrl(text);
    await picture.decode();
    const canvas = Object.assign(document.createElement('canvas'), { width: width * scale, height: height * scale });
    canvas.getContext('2d').drawImage(picture, 0, 0, canvas.width, canvas.height);
    save(canvas.toDataURL('image/png'), `${figure.dataset.name}.png`);
  };

  for (const figure of document.querySelectorAll('figure')) {
    const title = figure.closest('section').querySelector('h2').textContent, row = Object.assign(document.createElement('div'), { className: 'save' });
    for (const [kind, act] of [['SVG', asSvg], ['PNG', asPng]]) {
      const button = Object.assign(document.createElement('button'), { type: 'button', textContent: `Save ${kind}` });
      button.setAttribute('aria-label', `Save the figure “${title}” as ${kind}`);
      button.addEventListener('click', () => act(figure));
      row.append(button);
    }
    figure.append(row);
  }
})();
