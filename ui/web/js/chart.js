// Line charts in SVG: what was measured as lines, what was expected as a band behind them.
import { html, useEffect, useLayoutEffect, useRef, useState } from './dom.js'
import { clock, known, tick } from './format.js'

// useWidth is the width that an element has.
export function useWidth(start = 480) {
  const ref = useRef(null)
  const [width, set] = useState(start)
  useLayoutEffect(() => {
    const element = ref.current
    if (!element) return
    const measure = () => set(Math.max(200, Math.floor(element.clientWidth)))
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(element)
    return () => observer.disconnect()
  }, [])
  return [ref, width]
}

// niceTop is the end of a scale: 1, 2, 2.5 or 5 times a power of ten.
export function niceTop(v) {
  if (!(v > 0)) return 1
  const p = 10 ** Math.floor(Math.log10(v))
  for (const m of [1, 2, 2.5, 5, 10]) if (v <= m * p * 1.0001) return m * p
}

// binary is a nice end in the largest unit of 1024 that fits, where the scale counts in those.
const binary = (v, unit) => {
  if (unit === 1) return niceTop(v)
  let u = 1
  while (v / u >= unit) u *= unit
  return niceTop(v / u) * u
}

// linePath draws values, broken where one is not known. A value alone between gaps is a short stroke.
export function linePath(values, x, y) {
  let d = ''
  let open = false
  values.forEach((v, i) => {
    if (!known(v)) { open = false; return }
    d += (open ? 'L' : 'M') + x(i).toFixed(1) + ' ' + y(v).toFixed(1)
    if (!open && !known(values[i + 1])) d += 'h1.5'
    open = true
  })
  return d
}

// bandPath is the area between two rows of values.
export function bandPath(low, high, x, y) {
  let d = ''
  for (let i = 0; i < high.length; i++) {
    if (!known(high[i]) || !known(low[i])) continue
    const from = i
    while (i + 1 < high.length && known(high[i + 1]) && known(low[i + 1])) i++
    if (i === from) continue
    for (let k = from; k <= i; k++) d += (k === from ? 'M' : 'L') + x(k).toFixed(1) + ' ' + y(high[k]).toFixed(1)
    for (let k = i; k >= from; k--) d += 'L' + x(k).toFixed(1) + ' ' + y(low[k]).toFixed(1)
    d += 'Z'
  }
  return d
}

const lastKnown = values => {
  for (let i = values.length - 1; i >= 0; i--) if (known(values[i])) return values[i]
  return null
}

const height = 150
const pad = { left: 60, right: 8, top: 8, bottom: 20 }

// Chart of a row of instants. lines: {name, values, look}; expected: {name, low, high}.
export function Chart({ title, at, lines, bands = [], format, least = 0, limit, unit = 1 }) {
  const [ref, width] = useWidth()
  const [hover, setHover] = useState(-1)
  useEffect(() => setHover(-1), [at.length, title])
  let top = least
  for (const l of lines) for (const v of l.values) if (known(v)) top = Math.max(top, v)
  for (const b of bands) for (const v of b.high) if (known(v)) top = Math.max(top, v)
  if (limit && known(limit.value) && limit.value < top * 4) top = Math.max(top, limit.value)
  top = binary(top, unit)
  const x = i => pad.left + (width - pad.left - pad.right) * (at.length > 1 ? i / (at.length - 1) : 0)
  const y = v => pad.top + (height - pad.top - pad.bottom) * (1 - Math.min(v, top) / top)
  const i = hover >= 0 && hover < at.length ? hover : -1
  const read = values => (i >= 0 ? values[i] : lastKnown(values))
  const place = e => {
    const box = e.currentTarget.getBoundingClientRect()
    const share = (e.clientX - box.left - pad.left) / (box.width - pad.left - pad.right)
    setHover(Math.min(at.length - 1, Math.max(0, Math.round(share * (at.length - 1)))))
  }
  const key = e => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key]
    if (!step) return
    e.preventDefault()
    setHover(Math.min(at.length - 1, Math.max(0, (i < 0 ? at.length : i) + step)))
  }
  const empty = !lines.some(l => l.values.some(known))
  const label = title + ': ' + (empty ? 'nothing was measured' : lines.map(l => l.name + ' ' + format(read(l.values))).join(', ')) +
    bands.filter(b => known(read(b.high))).map(b => ', ' + b.name + ' ' + format(read(b.low)) + ' to ' + format(read(b.high))).join('')
  return html`<figure class="chart">
    <figcaption><h3>${title}</h3>
      <span class="when muted">${i >= 0 ? clock(at[i]) : ''}</span>
      <span class="keys">
        ${lines.map(l => html`<span class="key"><span class=${'swatch ' + l.look} aria-hidden="true"></span>${l.name} <b>${format(read(l.values))}</b></span>`)}
        ${bands.map(b => known(read(b.high)) && html`<span class="key"><span class=${'swatch band ' + (b.look || '')} aria-hidden="true"></span>${b.name} <b>${format(read(b.low))} – ${format(read(b.high))}</b></span>`)}
      </span>
    </figcaption>
    <div ref=${ref} class="plot">
    <svg width=${width} height=${height} viewBox=${'0 0 ' + width + ' ' + height} role="img" aria-label=${label} tabindex="0"
      onPointerMove=${place} onPointerLeave=${() => setHover(-1)} onKeyDown=${key} onBlur=${() => setHover(-1)}>
      ${[0, 0.5, 1].map(s => html`<path class="grid" d=${'M' + pad.left + ' ' + (Math.round(y(s * top)) + 0.5) + 'H' + (width - pad.right)} />
        <text class="tick" x=${pad.left - 8} y=${y(s * top) + 4} text-anchor="end">${tick(format(s * top))}</text>`)}
      ${at.length > 1 && (at.length > 2 ? [0, 0.5, 1] : [0, 1]).map(s => {
        const k = Math.round(s * (at.length - 1))
        return html`<text class="tick" x=${x(k)} y=${height - 5} text-anchor=${s === 0 ? 'start' : s === 1 ? 'end' : 'middle'}>${clock(at[k])}</text>`
      })}
      ${bands.map(b => html`<path class=${'expected ' + (b.look || '')} d=${bandPath(b.low, b.high, x, y)} />`)}
      ${limit && known(limit.value) && limit.value <= top && html`<path class="limit" d=${'M' + pad.left + ' ' + y(limit.value).toFixed(1) + 'H' + (width - pad.right)} />
        <text class="tick" x=${width - pad.right} y=${y(limit.value) - 4} text-anchor="end">${limit.name}</text>`}
      ${lines.map(l => html`<path class=${'line ' + l.look} d=${linePath(l.values, x, y)} />`)}
      ${i >= 0 && html`<path class="cross" d=${'M' + x(i).toFixed(1) + ' ' + pad.top + 'V' + (height - pad.bottom)} />
        ${lines.map(l => known(l.values[i]) && html`<circle class=${'dot ' + l.look} cx=${x(i)} cy=${y(l.values[i])} r="3" />`)}`}
      ${empty && html`<text class="tick" x=${(width + pad.left) / 2} y=${height / 2} text-anchor="middle">Nothing was measured</text>`}
    </svg></div>
  </figure>`
}

// widen makes a band of a row of values: so much to either side.
export function widen(values, by) {
  return { low: values.map(v => (known(v) ? v * (1 - by) : null)), high: values.map(v => (known(v) ? v * (1 + by) : null)) }
}

// Spark is a small line without scales.
export function Spark({ values, width = 72, height = 18 }) {
  const top = Math.max(...values, 1e-9)
  const x = i => 1 + (width - 2) * (values.length > 1 ? i / (values.length - 1) : 0)
  const y = v => height - 2 - (height - 4) * (v / top)
  return html`<svg class="spark" width=${width} height=${height} aria-hidden="true"><path class="line one" d=${linePath(values, x, y)} /></svg>`
}
