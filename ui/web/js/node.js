// One node: what is measured beside what is expected, its replicas, what was decided about it, and what can be done.
import { html, useState } from './dom.js'
import { Link, nodePath } from './router.js'
import { Health } from './health.js'
import { Chart, widen } from './chart.js'
import { useFetched } from './use.js'
import { Actions } from './actions.js'
import { EventList } from './events.js'
import { bytes, clock, cores, kindWord, known, latency, number, percent, plural, rate, span, time } from './format.js'

const ranges = [['5m', '5 minutes'], ['30m', '30 minutes'], ['6h', '6 hours']]

function Ranges({ value, set }) {
  return html`<div class="group" role="group" aria-label="Range of the charts">${ranges.map(([v, name]) =>
    html`<button type="button" aria-pressed=${v === value} onClick=${() => set(v)}>${name}</button>`)}</div>`
}

const withUnit = v => (known(v) ? number(v) : '–')

// Charts of a node or a route.
export function Charts({ query, range, beat, limit, use = true }) {
  const { value: s, error } = useFetched('/v1/series?' + query + '&range=' + range, beat)
  if (error) return html`<p class="error">${error}</p>`
  if (!s) return html`<p class="empty">Reading the history.</p>`
  const e = s.expected
  const expectedRate = widen(e.rate, s.use_band)
  const expectedCores = widen(e.cores, s.use_band)
  const p99 = widen(e.p99_ms, s.latency_band)
  const p50 = widen(e.p50_ms, s.latency_band)
  const any = row => row.some(known)
  return html`<div class="charts">
    <${Chart} title="Requests" at=${s.at} format=${v => (known(v) ? number(v) + '/s' : '–')}
      lines=${[{ name: 'measured', values: s.rate, look: 'one' }]} bands=${any(e.rate) ? [{ name: 'expected', ...expectedRate }] : []} />
    <${Chart} title="Latency" at=${s.at} format=${v => time(v)}
      lines=${[{ name: 'p99', values: s.p99_ms, look: 'one' }, { name: 'p50', values: s.p50_ms, look: 'two' }]}
      bands=${any(e.p99_ms) ? [{ name: 'expected p99', ...p99 }, { name: 'expected p50', look: 'other', ...p50 }] : []} />
    ${use && html`<${Chart} title="CPU" at=${s.at} format=${v => (known(v) ? cores(v) : '–')} limit=${limit}
      lines=${[{ name: 'cores', values: s.cores, look: 'one' }]} bands=${any(e.cores) ? [{ name: 'expected', ...expectedCores }] : []} />`}
    <${Chart} title="Errors" at=${s.at} format=${percent} least=${0.01} lines=${[{ name: 'share of calls', values: s.errors, look: 'bad' }]} />
    ${use && html`<${Chart} title="Memory" at=${s.at} format=${bytes} unit=${1024} lines=${[{ name: 'resident', values: s.memory_bytes, look: 'one' }]} />`}
    <${Chart} title="In flight" at=${s.at} format=${withUnit} least=${1} lines=${[{ name: 'calls', values: s.in_flight, look: 'one' }]} />
  </div>${s.why && html`<p class="muted note">Expected figures are not shown: ${s.why}.</p>`}`
}

function Replicas({ detail }) {
  const seen = new Map((detail.observed ? detail.observed.replicas || [] : []).map(r => [r.replica, r]))
  const known = new Map((detail.status ? detail.status.replicas || [] : []).map(r => [r.id, r]))
  const ids = [...new Set([...known.keys(), ...seen.keys()])]
  if (!ids.length) return null
  return html`<section class="panel" aria-labelledby="replicas"><h2 id="replicas">Replicas</h2><div class="wide" tabindex="0" role="group" aria-labelledby="replicas"><table>
    <thead><tr><th scope="col">Replica</th><th scope="col">State</th><th scope="col">Breaker</th><th scope="col" class="n">Requests</th><th scope="col" class="n">p99</th>
      <th scope="col" class="n">Errors</th><th scope="col" class="n">CPU</th><th scope="col" class="n">Memory</th><th scope="col" class="n">Restarts</th><th scope="col">Note</th></tr></thead>
    <tbody>${ids.map(id => {
      const o = seen.get(id) || {}
      const k = known.get(id) || {}
      return html`<tr key=${id}><th scope="row">${id}</th><td>${o.draining ? 'draining' : k.state || o.state || (o.healthy ? 'ready' : 'unready')}</td><td>${o.breaker || '–'}</td>
        <td class="n">${rate(o.rate)}</td><td class="n">${latency((o.latency || {}).p99_ns / 1e6)}</td><td class="n">${percent(o.errors)}</td>
        <td class="n">${cores(o.cores)}</td><td class="n">${bytes(o.memory_bytes)}</td><td class="n">${number(k.restarts || 0)}</td><td class="wrap">${k.why || k.last_exit || ''}</td></tr>`
    })}</tbody></table></div></section>`
}

const size = s => plural(s.replicas, 'replica') + (s.cores ? ' of ' + cores(s.cores) + ' cores' : '')

function Decisions({ all }) {
  if (!all) return null
  return html`<section class="panel" aria-labelledby="decisions"><h2 id="decisions">Autoscaler</h2>
    ${all.length === 0 ? html`<p class="muted">It has decided nothing yet; it looks every 15 seconds.</p>` : html`<div class="wide" tabindex="0" role="group" aria-labelledby="decisions"><table>
    <thead><tr><th scope="col">At</th><th scope="col">Decision</th><th scope="col">Why</th><th scope="col" class="n">Requests</th><th scope="col" class="n">CPU</th></tr></thead>
    <tbody>${all.slice(0, 12).map(d => html`<tr key=${d.at}><td>${clock(d.at)}</td><td>${JSON.stringify(d.from) === JSON.stringify(d.to) ? 'stay at ' + size(d.to) : size(d.from) + ' → ' + size(d.to)}${d.dryRun ? ' (dry run)' : ''}</td>
      <td class="wrap">${d.error || d.why}</td><td class="n">${rate(d.requests)}</td><td class="n">${percent(d.cpu)}</td></tr>`)}</tbody></table></div>`}</section>`
}

const Stat = ({ name, value, note, below }) => html`<div class="tile"><dt>${name}</dt><dd>${value}${note && html`<small>${note}</small>`}${below && html`<small class="below">${below}</small>`}</dd></div>`

function Stats({ node, n }) {
  if (n.store) {
    const s = n.store
    if (node.kind === 'cache') return html`<dl class="tiles"><${Stat} name="Lookups" value=${rate(s.in_rate)} /><${Stat} name="Hit ratio" value=${percent(s.hit_ratio || 0)} /><${Stat} name="Memory" value=${bytes(s.used_bytes || 0)} note=${s.limit_bytes ? ' of ' + bytes(s.limit_bytes) : ''} /></dl>`
    return html`<dl class="tiles"><${Stat} name="In" value=${rate(s.in_rate)} /><${Stat} name="Out" value=${rate(s.out_rate)} /><${Stat} name="Waiting" value=${number(s.waiting || 0)} />
      <${Stat} name="In flight" value=${number(s.in_flight || 0)} /><${Stat} name="Dead" value=${number(s.dead || 0)} /><${Stat} name="Oldest" value=${s.oldest_age_ns ? span(s.oldest_age_ns / 1e9) : '–'} /></dl>`
  }
  return html`<dl class="tiles"><${Stat} name="Requests" value=${rate(n.rate)} below=${n.expected && n.expected.rate ? 'expected ' + rate(n.expected.rate) : ''} />
    <${Stat} name="p50" value=${latency(n.p50_ms)} /><${Stat} name="p99" value=${latency(n.p99_ms)} /><${Stat} name="Errors" value=${percent(n.errors)} />
    ${node.kind !== 'clients' && html`<${Stat} name="CPU" value=${cores(n.cores || 0)} note=${n.limit_cores ? ' of ' + cores(n.limit_cores) : ''} below=${n.expected ? 'expected ' + cores(n.expected.cores) : ''} />`}
    ${n.wanted ? html`<${Stat} name="Replicas" value=${n.ready || 0} note=${' of ' + n.wanted} />` : ''}
    ${n.throttled > 0 && html`<${Stat} name="Held back" value=${percent(n.throttled)} />`}</dl>`
}

// Routes of the gateway, what clients see beside what they should.
function Routes({ frame, beat, range }) {
  const [route, setRoute] = useState('')
  const busiest = [...frame.routes].sort((a, b) => b.rate - a.rate)
  const shown = route || (busiest[0] && busiest[0].route) || ''
  return html`<section class="panel" aria-labelledby="routes"><h2 id="routes">Routes</h2><div class="wide" tabindex="0" role="group" aria-labelledby="routes"><table>
    <thead><tr><th scope="col">Route</th><th scope="col">To</th><th scope="col" class="n">Requests</th><th scope="col" class="n">Errors</th><th scope="col" class="n">p50</th><th scope="col" class="n">Expected</th><th scope="col" class="n">p99</th><th scope="col" class="n">Expected</th></tr></thead>
    <tbody>${frame.routes.map(r => html`<tr key=${r.route} class=${r.route === shown ? 'chosen' : ''}><th scope="row"><button type="button" class="link" aria-pressed=${r.route === shown} onClick=${() => setRoute(r.route)}>${r.route}</button></th>
      <td>${r.service ? html`<${Link} href=${nodePath(r.service)}>${r.service}<//>` : '–'}</td><td class="n">${rate(r.rate)}</td><td class="n">${percent(r.errors)}</td>
      <td class="n">${latency(r.p50_ms)}</td><td class="n muted">${r.expected ? latency(r.expected.p50_ms) : '–'}</td><td class="n">${latency(r.p99_ms)}</td><td class="n muted">${r.expected ? latency(r.expected.p99_ms) : '–'}</td></tr>`)}</tbody></table></div>
    ${shown && html`<h3 class="route">${shown}</h3><${Charts} query=${'route=' + encodeURIComponent(shown)} range=${range} beat=${beat} use=${false} />`}</section>`
}

export function NodeView({ id, store }) {
  const [range, setRange] = useState('5m')
  const frame = store.frame
  const n = frame.nodes[id]
  const { value: detail, error } = useFetched('/v1/nodes/' + encodeURIComponent(id), frame.seq)
  const step = { '5m': 5, '30m': 30, '6h': 360 }[range]
  const beat = Math.floor(frame.at / 1000 / step)
  if (error && !detail) return html`<h1>${id}</h1><p class="error" role="alert">${error}</p><p><${Link} href="/">Back to the map<//></p>`
  if (!detail) return html`<p class="empty">Reading ${id}.</p>`
  const node = detail.node
  const store_ = n && n.store
  const chain = (ids, word) => ids.length > 0 && html`<p class="chain"><span class="muted">${word}</span> ${ids.map((c, i) => html`${i ? ', ' : ''}<${Link} href=${nodePath(c)}>${c.replace('@', '')}<//>`)}</p>`
  return html`
    <div class="head"><div><p class="crumb"><${Link} href="/">Map<//> <span aria-hidden="true">/</span> ${kindWord[node.kind]}${node.layer ? ' · ' + node.layer : ''}</p>
      <h1>${node.name} ${n && html`<${Health} health=${n.health} />`}</h1>${n && n.why && n.health !== 'ok' && html`<p class="why">${n.why}</p>`}
      ${chain(detail.callers, 'Called by')}${chain(detail.callees, 'Calls')}
      ${(node.kind === 'service' || id === '@gateway') && html`<p class="chain">${store.features.logs && node.kind === 'service' && html`<${Link} href=${'/log?query=' + encodeURIComponent('service=' + id)}>Logs<//> `}
        ${store.features.traces && html`<${Link} href=${'/trace?service=' + encodeURIComponent(id.replace('@', ''))}>Traces<//>`}</p>`}</div>
      ${!store_ && html`<${Ranges} value=${range} set=${setRange} />`}</div>
    ${n ? html`<${Stats} node=${node} n=${n} />` : html`<p class="muted">Nothing is measured of it.</p>`}
    ${n && !store_ && html`<section class="panel" aria-labelledby="charts"><h2 class="hidden" id="charts">Charts</h2><${Charts} query=${'node=' + encodeURIComponent(id)} range=${range} beat=${beat} use=${node.kind !== 'clients' && node.kind !== 'external'}
      limit=${n.limit_cores ? { name: 'limit', value: n.limit_cores } : null} /></section>`}
    ${id === '@gateway' && html`<${Routes} frame=${frame} beat=${beat} range=${range} />`}
    ${node.kind === 'service' && detail.status && html`<${Actions} detail=${detail} writable=${store.writable} />`}
    <${Replicas} detail=${detail} />
    <${Decisions} all=${detail.decisions} />
    ${detail.events.length > 0 && html`<section class="panel" aria-labelledby="events"><h2 id="events">What happened</h2><${EventList} events=${detail.events} /></section>`}`
}
