// The live map. Places and ways come from the server, laid out in Go; here they are filled with figures. The page comes with all this painted
// (picture.go, paint.go): what is drawn here otherwise is to be drawn so there.
import { html, useLayoutEffect, useMemo, useRef, useState } from './dom.js'
import { follow, nodePath } from './router.js'
import { Health, HealthMark } from './health.js'
import { EventList } from './events.js'
import { bytes, cores, healthWord, kindWord, latency, number, percent, plural, rate } from './format.js'

const zooms = [0.4, 0.5, 0.65, 0.8, 1, 1.25, 1.5]
const most = 14 // dots of replicas that fit
const flowing = 60 // edges that move at most

// figuresOf are the words of a node's second line.
function figuresOf(node, n) {
  if (!n) return ''
  if (n.store) {
    const s = n.store
    if (node.kind === 'cache') return percent(s.hit_ratio || 0) + ' hits · ' + bytes(s.used_bytes || 0)
    return number(s.waiting || 0) + ' waiting · ' + rate(s.in_rate)
  }
  if (node.kind === 'clients') return rate(n.rate)
  return rate(n.rate) + (n.p99_ms > 0 ? ' · p99 ' + latency(n.p99_ms) : '')
}

// spoken says everything about a node in a sentence.
function spoken(node, n) {
  if (!n) return kindWord[node.kind] + ' ' + node.name
  const parts = [kindWord[node.kind] + ' ' + node.name, n.health === 'idle' ? 'idle' : healthWord[n.health].toLowerCase()]
  if (n.why) parts.push(n.why)
  parts.push(figuresOf(node, n))
  if (n.wanted) parts.push((n.ready || 0) + ' of ' + plural(n.wanted, 'replica') + ' ready')
  if (n.errors > 0) parts.push(percent(n.errors) + ' errors')
  return parts.filter(Boolean).join(', ')
}

const dotForm = { ready: 'full', starting: 'ring', unready: 'bar', draining: 'half', stopping: 'half', waiting: 'bar' }

function Dots({ node, states, y }) {
  const shown = states.slice(0, states.length > most ? most - 2 : most)
  return html`<g class="dots">
    ${shown.map((s, i) => {
      const x = node.x + 17 + i * 10
      const form = dotForm[s] || 'bar'
      if (form === 'bar') return html`<rect class="dot-bad" x=${x - 3} y=${y - 3} width="6" height="6"><title>${s}</title></rect>`
      return html`<circle class=${'dot-' + form} cx=${x} cy=${y} r=${form === 'full' ? 3.5 : 3}><title>${s}</title></circle>`
    })}
    ${shown.length < states.length && html`<text class="small" x=${node.x + 17 + shown.length * 10} y=${y + 4}>${'+' + (states.length - shown.length)}</text>`}
  </g>`
}

// Use is a bar of CPU at the foot of a service, with a mark where the plan expects it.
function Use({ node, n, machine }) {
  const limit = n.limit_cores || machine
  if (!limit) return null
  const width = node.w - 28
  const at = v => Math.min(1, v / limit) * width
  const x = node.x + 14
  const y = node.y + node.h - 9
  return html`<g class="use">
    <title>${cores(n.cores || 0) + ' of ' + cores(limit) + ' cores' + (n.expected ? ', expected ' + cores(n.expected.cores) : '')}</title>
    <rect class="track" x=${x} y=${y} width=${width} height="3" rx="1.5" />
    <rect class=${'fill' + ((n.cores || 0) > 0.85 * limit ? ' full' : '')} x=${x} y=${y} width=${at(n.cores || 0)} height="3" rx="1.5" />
    ${n.expected && n.expected.cores > 0 && html`<path class="expect" d=${'M' + (x + at(n.expected.cores)).toFixed(1) + ' ' + (y - 2) + 'v7'} />`}
  </g>`
}

// decoration tells stores and queues apart by their form.
function decoration(node) {
  const right = node.x + node.w
  if (node.kind === 'cache' || node.kind === 'table') return `M${node.x + 0.5} ${node.y + 8.5}H${right - 0.5}`
  if (node.kind === 'queue' || node.kind === 'topic') return `M${right - 8.5} ${node.y + 0.5}V${node.y + node.h - 0.5}M${right - 14.5} ${node.y + 0.5}V${node.y + node.h - 0.5}`
  return ''
}

function Node({ node, n, machine, dim }) {
  const service = node.kind === 'service' || node.kind === 'external' || node.kind === 'function'
  const first = node.y + (service ? 22 : 27)
  const health = n ? n.health : 'idle'
  const deco = decoration(node)
  const inset = node.kind === 'queue' || node.kind === 'topic' ? 18 : 0
  const room = Math.floor((node.w - 46 - inset) / 7.2)
  const name = node.name.length > room ? node.name.slice(0, room - 1) + '…' : node.name
  return html`<a class=${'node ' + node.kind + ' is-' + health + (dim ? ' dim' : '')} href=${nodePath(node.id)} onClick=${follow} data-id=${node.id}>
    <title>${spoken(node, n)}</title>
    <rect class="box" x=${node.x + 0.5} y=${node.y + 0.5} width=${node.w - 1} height=${node.h - 1} rx="6" />
    ${deco && html`<path class="deco" d=${deco} />`}
    <text class="name" x=${node.x + 14} y=${first}>${name}</text>
    ${n && node.kind !== 'clients' && html`<${HealthMark} health=${health} x=${node.x + node.w - 25 - inset} y=${first - 10} />`}
    <text class="figures" x=${node.x + 14} y=${first + 18}>${figuresOf(node, n) || (n ? '' : kindWord[node.kind])}</text>
    ${service && n && n.replicas && html`<${Dots} node=${node} states=${n.replicas} y=${node.y + 55} />`}
    ${service && n && (n.breakers_open > 0 || n.errors >= 0.01) && html`<text class="alarm" x=${node.x + node.w - 14} y=${node.y + 59} text-anchor="end">${n.breakers_open > 0 ? plural(n.breakers_open, 'breaker') + ' open' : percent(n.errors) + ' err'}</text>`}
    ${service && n && node.kind === 'service' && html`<${Use} node=${node} n=${n} machine=${machine} />`}
  </a>`
}

// weight is how thick an edge is drawn: by the logarithm of its rate.
const weight = c => (c && c.rate > 0 ? Math.min(3, 1 + Math.log10(1 + c.rate) / 2.5) : 1)
const pace = c => (c.rate > 100 ? 'fast' : c.rate > 5 ? 'medium' : 'slow')

function Edge({ edge, c, moving, dim, focus }) {
  const failing = c && c.errors >= 0.01
  const look = 'edge' + (c && c.rate > 0 ? ' busy' : '') + (failing ? ' failing' : '') + (dim ? ' dim' : '') + (focus ? ' focus' : '')
  return html`<g class=${look}>
    <path class="way" d=${edge.d} stroke-width=${weight(c).toFixed(2)} marker-end=${failing ? 'url(#head-bad)' : focus ? 'url(#head-focus)' : 'url(#head)'} />
    ${moving && c && c.rate > 0 && html`<path class=${'flow ' + pace(c)} d=${edge.d} />`}
    ${c && c.rate > 0 && html`<text class="label" x=${edge.label.x} y=${edge.label.y} text-anchor=${edge.label_end ? 'end' : 'start'}>${number(c.rate) + (failing ? ' · ' + percent(c.errors) + ' err' : '')}</text>`}
  </g>`
}

const Tile = ({ name, value, note }) => html`<div class="tile"><dt>${name}</dt><dd>${value}${note && html`<small>${note}</small>`}</dd></div>`

export function Tiles({ frame }) {
  const t = frame.total
  const m = frame.machine
  const services = Object.values(frame.nodes)
  const trouble = services.filter(n => n.health === 'warning' || n.health === 'failing').length
  const e = frame.expected
  return html`<dl class="tiles">
    <${Tile} name="Requests" value=${rate(t.rate)} />
    <${Tile} name="p50" value=${latency(t.p50_ms)} />
    <${Tile} name="p99" value=${latency(t.p99_ms)} />
    <${Tile} name="Errors" value=${percent(t.errors)} />
    <${Tile} name="In flight" value=${number(t.in_flight)} />
    <${Tile} name="CPU" value=${cores(m.busy)} note=${' of ' + m.cores} />
    <${Tile} name="Bottleneck" value=${e.known ? e.bottleneck : '–'} note=${e.known ? (e.saturated ? ' saturated' : '') : ''} />
    <${Tile} name="Not well" value=${trouble === 0 ? 'none' : plural(trouble, 'node')} />
  </dl>`
}

// What somebody has typed into the page as it was painted, before the script took it over.
const typed = () => document.querySelector('section[aria-label=Map] label.search input')?.value ?? ''

export function MapView({ store }) {
  const { map, frame } = store
  const [early] = useState(typed)
  const [find, setFind] = useState('')
  useLayoutEffect(() => setFind(early), []) // not at first: taking over leaves elements as they were painted
  const [zoom, setZoom] = useState(0) // 0: as it fits
  const [near, setNear] = useState('')
  const scroller = useRef(null)
  const neighbours = useMemo(() => {
    if (!map || !near) return null
    const set = new Set([near])
    map.edges.forEach(e => { if (e.from === near) set.add(e.to); if (e.to === near) set.add(e.from) })
    return set
  }, [map, near])
  if (!map) return html`<${Tiles} frame=${frame} /><p class="empty">Waiting for the map.</p>`
  // As it fits is up to the style sheet, by the widths of two pictures: nothing is drawn twice to find out, and no style is inline.
  const wide = by => Math.round(map.width * by)
  const wanted = find.trim().toLowerCase()
  const found = n => !wanted || n.name.toLowerCase().includes(wanted) || n.kind.includes(wanted)
  const dimNode = n => !found(n) || (neighbours && !neighbours.has(n.id))
  const step = by => {
    const scale = zoom || scroller.current.querySelector('.map').getBoundingClientRect().width / map.width
    const i = zooms.findIndex(z => z >= scale - 0.01)
    setZoom(zooms[Math.min(zooms.length - 1, Math.max(0, (i < 0 ? zooms.length : i) + by))])
  }
  const hits = wanted ? map.nodes.filter(found) : []
  const jump = e => {
    if (e.key === 'Enter' && hits.length) scroller.current.querySelector(`[data-id="${CSS.escape(hits[0].id)}"]`).focus()
  }
  const moving = map.edges.length <= flowing
  const over = e => { const a = e.target.closest && e.target.closest('a.node'); setNear(a ? a.dataset.id : '') }
  return html`
    <h1 class="hidden">${'Map of ' + frame.system}</h1>
    <${Tiles} frame=${frame} />
    <section class="panel" aria-label="Map">
      <div class="tools">
        <label class="search"><span class="hidden">Find a node</span><input type="search" placeholder="Find a node" value=${find} onInput=${e => setFind(e.target.value)} onKeyDown=${jump} /></label>
        ${wanted && html`<span class="muted" role="status">${plural(hits.length, 'node')}</span>`}
        <span class="legend muted" aria-hidden="true"><svg width="104" height="12"><path class="legend-track" d="M1 6h30" /><path class="legend-expect" d="M20 1v10" /><text x="38" y="10">expected</text></svg></span>
        <div class="group" role="group" aria-label="Zoom">
          <button type="button" onClick=${() => step(-1)} aria-label="Zoom out">−</button>
          <button type="button" onClick=${() => setZoom(0)} aria-pressed=${zoom === 0}>Fit</button>
          <button type="button" onClick=${() => step(1)} aria-label="Zoom in">+</button>
        </div>
      </div>
      <div class="scroll" ref=${scroller} tabindex="0" role="region" aria-label="Drawing of the map, also as a table under Table">
        <div class=${zoom ? 'fit zoomed' : 'fit'}>
        <svg class="least" width=${wide(0.55)} height="0" aria-hidden="true" />
        <svg class="map" width=${wide(zoom || 1.15)} viewBox=${'0 0 ' + map.width + ' ' + map.height}
          role="group" aria-label=${'Architecture of ' + frame.system} onPointerOver=${over} onPointerLeave=${() => setNear('')} onFocusIn=${over} onFocusOut=${() => setNear('')}>
          <defs>
            ${['', '-bad', '-focus'].map(k => html`<marker id=${'head' + k} class=${'tip' + k} viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 .5 8 4 0 7.5Z" /></marker>`)}
          </defs>
          <g aria-hidden="true">${map.edges.map(e => {
            const focus = near && (e.from === near || e.to === near)
            return html`<${Edge} key=${e.from + '>' + e.to} edge=${e} c=${frame.edges[e.from + '>' + e.to]} moving=${moving} focus=${focus} dim=${(near && !focus) || (wanted && !hits.some(h => h.id === e.from || h.id === e.to))} />`
          })}</g>
          ${map.nodes.map(n => html`<${Node} key=${n.id} node=${n} n=${frame.nodes[n.id]} machine=${frame.machine.cores} dim=${dimNode(n)} />`)}
        </svg>
        </div>
      </div>
    </section>
    <${Troubles} map=${map} frame=${frame} />
    ${store.timeline.length > 0 && html`<section class="panel" aria-labelledby="latest"><div class="tools"><h2 id="latest">Latest</h2><a class="more" href="/timeline" onClick=${follow}>Timeline</a></div>
      <${EventList} events=${store.timeline.slice(-5).reverse()} /></section>`}`
}

// Troubles lists what is not well, in words.
function Troubles({ map, frame }) {
  const bad = map.nodes.map(n => [n, frame.nodes[n.id]]).filter(([, f]) => f && f.why && (f.health === 'warning' || f.health === 'failing'))
  if (!bad.length) return null
  return html`<section class="panel" aria-labelledby="troubles"><h2 id="troubles">Not well</h2>
    <ul class="plain">${bad.map(([n, f]) => html`<li><a href=${nodePath(n.id)} onClick=${follow}>${n.name}</a> <${Health} health=${f.health} /> <span>${f.why}</span></li>`)}</ul></section>`
}
