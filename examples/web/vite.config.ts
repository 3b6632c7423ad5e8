import { defineConfig } from 'vite';

export default defineConfig({
  // Relative addresses, so that the built page works in any folder of any server.
  base: './',
  // No fallback to index.html: a missing bundle file has to be a 404.
  appType: 'mpa',
  // The bundles, made by scripts/web-data.ts.
  publicDir: '../../.cache/web',
  cacheDir: '../../.cache/vite',
  server: { fs: { allow: ['../..'] } },
  build: {
    target: 'es2022',
    outDir: 'dist',
    assetsInlineLimit: 0,
  },
});
