// Logs of all replicas: searched, counted over time, followed.
import { html, useEffect, useState } from './dom.js'
import { get } from './api.js'
import { useWidth } from './chart.js'
import { Link, nodePath } from './router.js'
import { clock, date, number, plural } from './format.js'

const ranges = { '15m': 15, '1h': 60, '6h': 360, '24h': 1440 }
const page = 200
const levels = ['error', 'warn', 'info', 'debug']
const levelOf = l => { const v = (l || '').toLowerCase(); return /^(err|fatal|crit|panic|alert|emerg)/.test(v) ? 'error' : /^warn/.test(v) ? 'warn' : /^(debug|trace)/.test(v) ? 'debug' : 'info' }

// Bars are counts over time, errors and warnings told apart by place as well as by colour: they stand at the foot.
function Bars({ bars, from, to, step }) {
  const [ref, width] = useWidth(900)
  const height = 72
  const left = 44
  const n = Math.max(1, Math.round((to - from) / step))
  const sums = bars.map(b => {
    const s = { error: 0, warn: 0, info: 0 }
    for (const [k, v] of Object.entries(b.groups || { '': b.count })) { const l = levelOf(k); s[l === 'debug' ? 'info' : l] += v }
    return { at: Date.parse(b.start), count: b.count, ...s }
  })
  const top = Math.max(1, ...sums.map(s => s.count))
  const w = (width - left) / n
  const bad = sums.reduce((a, s) => a + s.error, 0)
  return html`<div ref=${ref} class="plot"><svg width=${width} height=${height} viewBox=${'0 0 ' + width + ' ' + height} role="img" aria-label=${'Lines over time, ' + plural(bad, 'error') + ' among them'}>
    <text class="tick" x=${left - 8} y="12" text-anchor="end">${number(top)}</text><path class="grid" d=${'M' + left + ' 54.5H' + width} />
    ${sums.map(s => {
      const x = left + (s.at - from) / step * w
      let y = 54
      return html`<g><title>${clock(s.at)}: ${plural(s.count, 'line')}, ${plural(s.error, 'error')}, ${plural(s.warn, 'warning')}</title>
        ${['error', 'warn', 'info'].map(k => { const h = s[k] / top * 48; y -= h; return h > 0 && html`<rect class=${'bar ' + k} x=${(x + 0.5).toFixed(1)} y=${y.toFixed(1)} width=${Math.max(1, w - 1).toFixed(1)} height=${h.toFixed(1)} />` })}</g>`
    })}
    ${[0, 0.5, 1].map(s => html`<text class="tick" x=${left + (width - left) * s} y="68" text-anchor=${s === 0 ? 'start' : s === 1 ? 'end' : 'middle'}>${clock(from + (to - from) * s)}</text>`)}
  </svg></div>`
}

function Entry({ e }) {
  const level = levelOf(e.level)
  const service = e.labels.service || ''
  const fields = Object.entries({ ...e.labels, ...(e.fields || {}) })
  return html`<li class=${'log ' + level}><details><summary><time datetime=${e.time}>${clock(Date.parse(e.time))}</time><span class="level">${e.level ? level : '–'}</span><span class="from">${e.labels.replica || service}</span><span class="text">${e.line}</span></summary>
    <dl class="fields">${fields.map(([k, v]) => html`<div><dt>${k}</dt><dd>${v}</dd></div>`)}</dl>
    <p class="links">${service && html`<${Link} href=${nodePath(service)}>${service}<//>`} ${e.trace_id && html`<${Link} href=${'/trace/' + encodeURIComponent(e.trace_id)}>Trace<//>`}</p></details></li>`
}

export function LogsView() {
  const start = new URLSearchParams(location.search).get('query') || ''
  const [typed, setTyped] = useState(start)
  const [query, setQuery] = useState(start)
  const [range, setRange] = useState('1h')
  const [live, setLive] = useState(true)
  const [beat, setBeat] = useState(0)
  const [found, setFound] = useState({ entries: [], bars: [], from: 0, to: 1, step: 1, more: false, damaged: 0, asked: false })
  const [error, setError] = useState('')
  useEffect(() => {
    if (!live) return
    const timer = setInterval(() => setBeat(n => n + 1), 3000)
    return () => clearInterval(timer)
  }, [live])
  useEffect(() => {
    const stop = new AbortController()
    const step = Math.max(1000, ranges[range] * 60000 / 90)
    const to = Math.ceil(Date.now() / step) * step
    const from = to - 90 * step
    const q = 'query=' + encodeURIComponent(query) + '&from=' + new Date(from).toISOString() + '&to=' + new Date(to).toISOString()
    Promise.all([get('/logs/search?' + q + '&limit=' + page, stop.signal), get('/logs/histogram?' + q + '&by=level&step=' + step + 'ms', stop.signal)]).then(([a, bars]) => {
      setFound({ entries: a.entries, bars: bars || [], from, to, step, more: a.entries.length === page, damaged: a.damaged || 0, asked: true })
      setError('')
    }, e => { if (e.name !== 'AbortError') setError(e.message) })
    return () => stop.abort()
  }, [query, range, beat])
  const older = async () => {
    setLive(false)
    const last = found.entries[found.entries.length - 1]
    try {
      const a = await get('/logs/search?query=' + encodeURIComponent(query) + '&from=' + new Date(found.from).toISOString() + '&to=' + new Date(found.to).toISOString() + '&limit=' + page + '&after=' + encodeURIComponent(last.position))
      setFound(f => ({ ...f, entries: f.entries.concat(a.entries), more: a.entries.length === page }))
    } catch (e) { setError(e.message) }
  }
  const submit = e => {
    e.preventDefault()
    setQuery(typed)
    history.replaceState(null, '', '/log' + (typed ? '?query=' + encodeURIComponent(typed) : ''))
  }
  return html`<div class="head"><h1>Logs</h1><span class="muted">${found.asked ? date(found.to) : ''}</span></div>
    <section class="panel" aria-label="Logs">
      <form class="tools" onSubmit=${submit}><label class="search grow"><span class="hidden">Search logs</span><input type="search" placeholder='level=error "timeout"' value=${typed} onInput=${e => setTyped(e.target.value)} /></label>
        <button type="submit">Search</button>
        <div class="group" role="group" aria-label="Range">${Object.keys(ranges).map(r => html`<button type="button" aria-pressed=${r === range} onClick=${() => setRange(r)}>${r}</button>`)}</div>
        <button type="button" class="toggle" aria-pressed=${live} onClick=${() => setLive(!live)}>Follow</button></form>
      ${error && html`<p class="error" role="alert">${error}</p>`}
      <${Bars} ...${found} />
      ${found.damaged > 0 && html`<p class="error">${plural(found.damaged, 'block')} of the store could not be read: lines may be missing.</p>`}
      ${found.asked && found.entries.length === 0 && !error ? html`<p class="empty">No line was found.</p>` : html`<ol class="logs">${found.entries.map(e => html`<${Entry} key=${e.position} e=${e} />`)}</ol>`}
      ${found.more && html`<p><button type="button" onClick=${older}>Older lines</button></p>`}
    </section>`
}
