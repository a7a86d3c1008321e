// Package plot draws plots as inline SVG, and writes the figures beside them: for pages that need nothing else, no
// script, no font, no address. It is what the reports of load tests and of simulations share. It keeps no state.
package plot

// Style of a page of plots, tables and tiles. Colours are told apart by people who see few of them, on light and dark.
const Style = `
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2026;--dim:#5d6673;--rule:#e2e5ea;--card:#f6f7f9;--c1:#0b62c4;--c2:#c25a00;--c3:#1a7f4b;--c4:#8a3ab9;--bad:#b3261e;--ok:#1a7f4b;--heat:#0b62c4}
@media(prefers-color-scheme:dark){:root{--bg:#14171c;--fg:#e6e9ee;--dim:#98a2b0;--rule:#2c323b;--card:#1c2027;--c1:#6cb0ff;--c2:#ffab5e;--c3:#5fd39a;--c4:#cf9bf2;--bad:#ff8a80;--ok:#5fd39a;--heat:#6cb0ff}}
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0 0 .2rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:2rem 0 .4rem}p{margin:.3rem 0}.dim{color:var(--dim)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(7.4rem,1fr));gap:.6rem;margin:1.2rem 0}.tile{background:var(--card);border-radius:8px;padding:.6rem .9rem;}.tile b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums}.tile span{color:var(--dim);font-size:.8rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.87rem;font-variant-numeric:tabular-nums;width:100%}th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}th{color:var(--dim);font-weight:500}th:first-child,td:first-child,.left td,.left th{text-align:left}td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:7rem}.left td{white-space:normal}
svg{width:100%;min-width:38rem;height:auto;display:block}.grid{stroke:var(--rule);stroke-width:1}.axis{stroke:var(--dim);stroke-width:1}.tick{fill:var(--dim);font-size:11px;font-family:system-ui,sans-serif}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}.heat{fill:var(--heat)}
.line.under{stroke-width:6;opacity:.4}.line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}.line.c3{stroke:var(--c3)}.line.c4{stroke:var(--c4)}.line.bad{stroke:var(--bad)}
i.c1{background:var(--c1)}i.c2{background:var(--c2)}i.c3{background:var(--c3)}i.c4{background:var(--c4)}i.bad{background:var(--bad)}
.line.faint{stroke:var(--dim);stroke-dasharray:2 4}i.faint{background:var(--dim)}.line.dash{stroke-dasharray:7 5}i.dash{opacity:.55}
.legend{color:var(--dim);font-size:.82rem}.legend span{margin-right:1.2rem}.legend i{display:inline-block;width:.9rem;height:.2rem;margin-right:.4rem;vertical-align:middle;border-radius:2px}
.warn{border-left:3px solid var(--c2);padding:.2rem .8rem;margin:.5rem 0}.bad{color:var(--bad)}.ok{color:var(--ok)}
`
