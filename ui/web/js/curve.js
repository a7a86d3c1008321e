// The curve of latency over load: as it runs, and as it would be.
import { html } from './dom.js'
import { linePath, niceTop, useWidth } from './chart.js'
import { known, number, rate, tick, time } from './format.js'

const height = 280
const pad = { left: 60, right: 14, top: 14, bottom: 34 }

export function Curve({ p, which }) {
  const [ref, width] = useWidth(720)
  const rates = p.rates
  const before = p.before[which]
  const after = p.after[which]
  const right = rates[rates.length - 1] || 1
  // The scale follows the bend, not the wall: five times the latency of an idle system, or what it is at this load.
  const idle = Math.min(...[before, after].map(v => v.find(known) ?? Infinity))
  const at = values => values[rates.findIndex(r => r >= p.rate)]
  const seen = [at(before), at(after)].filter(known)
  const top = niceTop(Math.max(5 * (Number.isFinite(idle) ? idle : 1), ...seen.map(v => 1.3 * v)))
  const x0 = v => pad.left + (width - pad.left - pad.right) * (v / right)
  const x = i => x0(rates[i])
  const y = v => pad.top + (height - pad.top - pad.bottom) * (1 - Math.min(v, top) / top)
  const cut = values => values.map((v, i) => (known(v) && (v <= top || (i > 0 && values[i - 1] <= top)) ? v : null))
  const marks = [{ name: 'knee', plan: p.before.plan, look: 'two' }]
  if (p.changed) marks.push({ name: 'knee, changed', plan: p.after.plan, look: 'one' })
  const word = v => (known(v) ? time(v) : 'saturated')
  const label = 'Latency over load. At ' + rate(p.rate) + ': ' + word(at(before)) + (p.changed ? ' as it runs, ' + word(at(after)) + ' changed' : '')
  return html`<div ref=${ref} class="plot curve"><svg width=${width} height=${height} viewBox=${'0 0 ' + width + ' ' + height} role="img" aria-label=${label}>
    ${[0, 0.25, 0.5, 0.75, 1].map(s => html`<path class="grid" d=${'M' + pad.left + ' ' + (Math.round(y(s * top)) + 0.5) + 'H' + (width - pad.right)} /><text class="tick" x=${pad.left - 8} y=${y(s * top) + 4} text-anchor="end">${tick(time(s * top))}</text>`)}
    ${[0, 0.25, 0.5, 0.75, 1].map(s => html`<text class="tick" x=${x0(s * right)} y=${height - 14} text-anchor=${s === 0 ? 'start' : s === 1 ? 'end' : 'middle'}>${number(s * right)}/s</text>`)}
    ${marks.map((m, i) => {
      const k = m.plan.knee.throughput
      if (!(k > 0) || k > right) return ''
      return html`<path class=${'knee ' + m.look} d=${'M' + x0(k).toFixed(1) + ' ' + pad.top + 'V' + (height - pad.bottom)} /><text class="tick" x=${x0(k) - 5} y=${pad.top + 10 + 14 * i} text-anchor="end">${m.name} ${rate(k)}</text>`
    })}
    <path class="line two" d=${linePath(cut(before), x, y)} />
    ${p.changed && html`<path class="line one" d=${linePath(cut(after), x, y)} />`}
    <path class="now" d=${'M' + x0(p.rate).toFixed(1) + ' ' + pad.top + 'V' + (height - pad.bottom)} />
    ${known(at(before)) && html`<circle class="dot two" cx=${x0(p.rate)} cy=${y(at(before))} r="3.5" />`}
    ${p.changed && known(at(after)) && html`<circle class="dot one" cx=${x0(p.rate)} cy=${y(at(after))} r="3.5" />`}
  </svg></div>`
}
