// Traces that were kept, and one of them with its critical path.
import { html, useMemo, useState } from './dom.js'
import { useFetched } from './use.js'
import { Link, nodePath } from './router.js'
import { clock, date, plural, time } from './format.js'

const least = { any: '', '50 ms': '50ms', '200 ms': '200ms', '1 s': '1s' }

export function TracesView({ store }) {
  const start = new URLSearchParams(location.search)
  const [service, setService] = useState(start.get('service') || '')
  const [errors, setErrors] = useState(start.get('errors') === 'true')
  const [slow, setSlow] = useState('any')
  const beat = Math.floor(store.frame.at / 5000)
  const from = useMemo(() => new Date(Date.now() - 6 * 3600 * 1000).toISOString(), [])
  const q = new URLSearchParams({ from, limit: '100' })
  if (service) q.set('service', service)
  if (errors) q.set('errors', 'true')
  if (least[slow]) q.set('min', least[slow])
  const { value: all, error } = useFetched('/traces/search?' + q, beat)
  const services = Object.keys(store.frame.nodes).filter(id => !id.includes('@') && !id.includes('.')).sort()
  const longest = Math.max(1, ...(all || []).map(t => t.duration))
  return html`<div class="head"><h1>Traces</h1><span class="muted">the last 6 hours</span></div>
    <section class="panel" aria-label="Traces"><div class="tools">
      <label class="inline">Service <select value=${service} onChange=${e => setService(e.target.value)}><option value="">all</option><option value="gateway">gateway</option>${services.map(s => html`<option value=${s}>${s}</option>`)}</select></label>
      <label class="inline">At least <select value=${slow} onChange=${e => setSlow(e.target.value)}>${Object.keys(least).map(k => html`<option value=${k}>${k}</option>`)}</select></label>
      <button type="button" class="toggle" aria-pressed=${errors} onClick=${() => setErrors(!errors)}>Errors only</button></div>
      ${error && html`<p class="error" role="alert">${error}</p>`}
      ${!error && !(all && all.length) ? html`<p class="empty">${all ? 'No trace was kept that is like this.' : 'Reading the traces.'}</p>` : html`<div class="wide" tabindex="0" role="group" aria-label="Table of traces"><table>
        <thead><tr><th scope="col">At</th><th scope="col">Began with</th><th scope="col">Duration</th><th scope="col" class="n">Spans</th><th scope="col" class="n">Services</th><th scope="col" class="n">Errors</th><th scope="col">Kept for</th></tr></thead>
        <tbody>${(all || []).map(t => html`<tr key=${t.trace_id}><td>${clock(Date.parse(t.start))}</td><th scope="row"><${Link} href=${'/trace/' + t.trace_id}>${t.service} ${t.name}<//></th>
          <td><span class="meter"><svg width="80" height="6" aria-hidden="true"><rect class="track" width="80" height="6" rx="3" /><rect class="fill" width=${(80 * t.duration / longest).toFixed(1)} height="6" rx="3" /></svg></span>${time(t.duration / 1e6)}</td>
          <td class="n">${t.spans}</td><td class="n">${(t.services || []).length}</td><td class=${'n' + (t.errors ? ' worse' : '')}>${t.errors}</td><td>${t.kept}</td></tr>`)}</tbody></table></div>`}
    </section>`
}

// rowsOf puts spans into the order of a tree, each with its depth.
function rowsOf(spans) {
  const known = new Set(spans.map(s => s.span_id))
  const below = new Map()
  const roots = []
  for (const s of [...spans].sort((a, b) => a.start - b.start)) {
    if (s.parent && known.has(s.parent) && s.parent !== s.span_id) below.set(s.parent, (below.get(s.parent) || []).concat(s))
    else roots.push(s)
  }
  const rows = []
  const seen = new Set()
  const walk = (s, depth) => {
    if (seen.has(s.span_id) || rows.length >= 1000) return
    seen.add(s.span_id)
    rows.push({ s, depth })
    for (const c of below.get(s.span_id) || []) walk(c, depth + 1)
  }
  roots.forEach(r => walk(r, 0))
  return rows
}

export function TraceView({ id }) {
  const { value: v, error } = useFetched('/traces/trace/' + encodeURIComponent(id), '')
  if (error) return html`<h1>Trace</h1><p class="error" role="alert">${error}</p><p><${Link} href="/trace">All traces<//></p>`
  if (!v) return html`<p class="empty">Reading the trace.</p>`
  const rows = rowsOf(v.spans)
  const begin = Math.min(...v.spans.map(s => s.start))
  const end = Math.max(...v.spans.map(s => s.start + s.duration), begin + 1)
  const own = new Map() // time on the critical path
  for (const p of v.critical_path || []) own.set(p.span_id, (own.get(p.span_id) || 0) + p.duration)
  const share = at => 100 * at / (end - begin)
  const root = rows[0].s
  return html`<div class="head"><div><p class="crumb"><${Link} href="/trace">Traces<//> <span aria-hidden="true">/</span> ${id.slice(0, 16)}</p><h1>${root.service} ${root.name}</h1>
      <p class="muted">${date(begin / 1e6)} ${clock(begin / 1e6)} · ${time((end - begin) / 1e6)} · ${plural(v.spans.length, 'span')}${root.kept ? ' · kept for: ' + root.kept : ''}</p></div>
      <${Link} class="button" href=${'/log?query=' + encodeURIComponent('trace_id=' + id)}>Logs<//></div>
    <section class="panel" aria-label="Spans"><p class="keys"><span class="key"><span class="swatch" aria-hidden="true"></span>on the critical path</span><span class="key"><span class="swatch pale" aria-hidden="true"></span>beside it</span></p>
      <div class="wide" tabindex="0" role="group" aria-label="Spans over time"><table class="spans"><thead><tr><th scope="col">Span</th><th scope="col" class="n">Took</th><th scope="col" class="n">Critical</th><th scope="col">When</th></tr></thead>
      <tbody>${rows.map(({ s, depth }) => html`<tr key=${s.span_id}><th scope="row"><span class="indent" style=${{ paddingLeft: Math.min(depth, 12) * 14 + 'px' }}><${Link} href=${nodePath(s.service === 'gateway' ? '@gateway' : s.service)}>${s.service}<//> ${s.name}${s.error ? html` <span class="worse">failed${s.message ? ': ' + s.message : ''}</span>` : ''}</span></th>
        <td class="n">${time(s.duration / 1e6)}</td><td class="n">${own.has(s.span_id) ? time(own.get(s.span_id) / 1e6) : '–'}</td>
        <td class="lane"><svg width="100%" height="14" aria-hidden="true" preserveAspectRatio="none"><rect class="pale" x=${share(s.start - begin).toFixed(3) + '%'} y="3" width=${Math.max(0.2, share(s.duration)).toFixed(3) + '%'} height="8" rx="2" />
          ${(v.critical_path || []).filter(p => p.span_id === s.span_id).map(p => html`<rect class=${s.error ? 'bad' : 'fill'} x=${share(p.at + root.start - begin).toFixed(3) + '%'} y="3" width=${Math.max(0.2, share(p.duration)).toFixed(3) + '%'} height="8" rx="2" />`)}</svg></td></tr>`)}</tbody></table></div></section>`
}
