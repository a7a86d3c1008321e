// Everything that happened, on one line of time: deploys, scalings, faults, alerts.
import { html, useState } from './dom.js'
import { useWidth } from './chart.js'
import { EventList } from './events.js'
import { clock, date, plural } from './format.js'

const kinds = ['deploy', 'scaling', 'replica', 'fault', 'alert']

// Strip shows when, a lane for each kind.
function Strip({ events, now }) {
  const [ref, width] = useWidth(900)
  const from = events.length ? Math.min(events[0].at, now - 60000) : now - 60000
  const left = 64
  const x = at => left + (width - left - 10) * ((at - from) / Math.max(1, now - from))
  const height = kinds.length * 26 + 24
  return html`<div ref=${ref} class="plot"><svg width=${width} height=${height} viewBox=${'0 0 ' + width + ' ' + height} role="img" aria-label=${plural(events.length, 'event') + ' from ' + clock(from) + ' to ' + clock(now)}>
    ${kinds.map((k, i) => html`<text class="tick" x="0" y=${i * 26 + 20}>${k}</text><path class="grid" d=${'M' + left + ' ' + (i * 26 + 16.5) + 'H' + width} />`)}
    ${[0, 0.5, 1].map(s => html`<text class="tick" x=${left + (width - left - 10) * s} y=${height - 4} text-anchor=${s === 0 ? 'start' : s === 1 ? 'end' : 'middle'}>${clock(from + (now - from) * s)}</text>`)}
    ${events.map(e => html`<path key=${e.id} class=${'tickmark' + (e.bad ? ' bad' : '')} d=${e.bad ? `M${x(e.at) - 4} ${kinds.indexOf(e.kind) * 26 + 12}l8 8m0-8l-8 8` : `M${x(e.at)} ${kinds.indexOf(e.kind) * 26 + 10}v12`}><title>${clock(e.at)} ${e.service || ''} ${e.what}</title></path>`)}
  </svg></div>`
}

export function TimelineView({ store }) {
  const [hidden, setHidden] = useState({})
  const [find, setFind] = useState('')
  const word = find.trim().toLowerCase()
  const shown = store.timeline.filter(e => !hidden[e.kind] && (!word || [e.service, e.replica, e.what, e.why].some(t => t && t.toLowerCase().includes(word))))
  const latest = [...shown].reverse()
  const counts = {}
  store.timeline.forEach(e => { counts[e.kind] = (counts[e.kind] || 0) + 1 })
  return html`<div class="head"><h1>Timeline</h1><span class="muted">${date(store.frame.at)}</span></div>
    <section class="panel" aria-label="Events">
      <div class="tools"><label class="search"><span class="hidden">Find an event</span><input type="search" placeholder="Find an event" value=${find} onInput=${e => setFind(e.target.value)} /></label>
        <div class="group" role="group" aria-label="Kinds shown">${kinds.map(k => html`<button type="button" aria-pressed=${!hidden[k]} onClick=${() => setHidden(h => ({ ...h, [k]: !h[k] }))}>${k} <span class="count">${counts[k] || 0}</span></button>`)}</div></div>
      <${Strip} events=${shown} now=${store.frame.at} />
      ${latest.length === 0 ? html`<p class="empty">Nothing happened that is shown.</p>` : html`<${EventList} events=${latest.slice(0, 200)} />`}
    </section>`
}
