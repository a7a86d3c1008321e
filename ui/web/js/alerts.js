// Alerts of the monitor, each with what may have caused it.
import { html } from './dom.js'
import { useFetched } from './use.js'
import { clock } from './format.js'

export function Alerts({ store }) {
  const { value, error } = useFetched('/monitor/alerts', Math.floor(store.frame.at / 5000))
  const shown = (value || []).filter(a => a.severity !== 'none')
  const order = { firing: 0, pending: 1 }
  shown.sort((a, b) => (order[a.state] ?? 2) - (order[b.state] ?? 2) || a.name.localeCompare(b.name))
  return html`<section class="panel" aria-labelledby="alerts"><h2 id="alerts">Alerts</h2>
    ${error && html`<p class="error">${error}</p>`}
    ${!error && value && shown.length === 0 && html`<p class="muted">No alert is pending or firing.</p>`}
    ${shown.length > 0 && html`<ul class="alerts">${shown.map(a => html`<li class=${a.state}><span class="state">${a.state}</span><div><p><b>${a.name}</b> <span class="muted">${a.severity} · since ${clock(Date.parse(a.activeAt))}${(a.silencedBy || []).length ? ' · silenced' : ''}</span></p>
      <p>${a.annotations.summary || a.annotations.description || ''}</p>
      ${(a.suspects || []).length > 0 && html`<p class="muted">Likely causes: ${a.suspects.slice(0, 3).map(s => s.what + (s.at ? ' (' + clock(Date.parse(s.at)) + ')' : '')).join('; ')}</p>`}</div></li>`)}</ul>`}</section>`
}
