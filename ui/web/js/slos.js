// The promises of the file against what was measured.
import { html } from './dom.js'
import { Link } from './router.js'
import { Health } from './health.js'
import { Alerts } from './alerts.js'
import { useFetched } from './use.js'
import { known, latency, number, percent, span } from './format.js'

const burn = v => (v >= 1000 ? 'all' : known(v) ? number(v) + '×' : '–')

function Look({ l, what }) {
  if (!l.requests) return html`<td class="n muted">–</td>`
  const full = Math.min(1, l.burn)
  return html`<td class="n"><span class=${'meter' + (l.burn > 1 ? ' over' : '')}><svg width="48" height="6" aria-hidden="true"><rect class="track" width="48" height="6" rx="3" /><rect class="fill" width=${(48 * full).toFixed(1)} height="6" rx="3" /></svg></span>
    <span class="burn">${burn(l.burn)}</span><span class="measured muted">${what === 'availability' ? percent(1 - l.missed) : latency(l.measured_ms)}</span></td>`
}

export function SLOView({ store }) {
  const { value: board, error } = useFetched('/v1/slos', Math.floor(store.frame.at / 10000))
  const expected = new Map(store.frame.routes.map(r => [r.route, r.expected]))
  if (error && !board) return html`<h1>SLOs</h1><p class="error" role="alert">${error}</p>`
  if (!board) return html`<h1>SLOs</h1><p class="empty">Reading the history.</p>`
  const alerts = store.features.alerts && html`<${Alerts} store=${store} />`
  if (!board.slos.length) return html`<h1>SLOs</h1><p class="empty">The file makes no promises: 'slos' says what a route owes its users.</p>${alerts}`
  return html`<h1>SLOs</h1>
    <section class="panel" aria-label="Promises"><div class="wide" tabindex="0" role="group" aria-label="Table of promises"><table class="slos">
      <thead><tr><th scope="col">Promise</th><th scope="col">Route</th><th scope="col">State</th><th scope="col">Limit</th><th scope="col" class="n">5 minutes</th><th scope="col" class="n">1 hour</th><th scope="col" class="n">6 hours</th><th scope="col" class="n">Expected now</th></tr></thead>
      <tbody>${board.slos.map(s => s.targets.map((t, i) => html`<tr key=${s.name + t.what} class=${i ? 'more' : ''}>
        ${i === 0 && html`<th scope="rowgroup" rowspan=${s.targets.length}>${s.name}</th><td rowspan=${s.targets.length}>${s.route}</td><td rowspan=${s.targets.length}><${Health} health=${s.health} /></td>`}
        <td>${t.what} ${t.what === 'availability' ? '≥' : '≤'} ${t.limit}</td>${t.looks.map(l => html`<${Look} l=${l} what=${t.what} />`)}
        <td class="n muted">${t.what === 'p99' && expected.get(s.route) ? latency(expected.get(s.route).p99_ms) : t.what === 'p50' && expected.get(s.route) ? latency(expected.get(s.route).p50_ms) : '–'}</td></tr>`))}</tbody></table></div>
      <p class="muted note">A rate of 1× uses the budget up exactly at the end of its window (${[...new Set(board.slos.map(s => span(s.window_s)))].join(', ')}); above it, sooner. <${Link} href="/node/%40gateway">Routes in detail<//></p></section>${alerts}`
}
