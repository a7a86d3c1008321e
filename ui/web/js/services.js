// The map as a table: every node with its figures, every call between them.
import { html, useState } from './dom.js'
import { Link, nodePath } from './router.js'
import { Health } from './health.js'
import { Spark } from './chart.js'
import { Tiles } from './map.js'
import { bytes, cores, kindWord, latency, number, percent, rate } from './format.js'

const rank = { failing: 3, warning: 2, ok: 1, idle: 0 }
const columns = [
  { name: 'Node', key: r => r.node.name, text: true },
  { name: 'Kind', key: r => r.node.kind, text: true },
  { name: 'Health', key: r => rank[r.n.health], text: true },
  { name: 'Requests', key: r => r.n.rate || 0 },
  { name: 'p50', key: r => r.n.p50_ms || 0 },
  { name: 'p99', key: r => r.n.p99_ms || 0 },
  { name: 'Errors', key: r => r.n.errors || 0 },
  { name: 'In flight', key: r => r.n.in_flight || 0 },
  { name: 'Replicas', key: r => r.n.ready || 0 },
  { name: 'CPU', key: r => r.n.cores || 0 },
  { name: 'Expected', key: r => (r.n.expected ? r.n.expected.cores : 0) },
  { name: 'Memory', key: r => r.n.memory_bytes || 0 },
]

export function ServicesView({ store }) {
  const { map, frame } = store
  const [order, setOrder] = useState({ column: 0, down: false })
  if (!map) return html`<p class="empty">Waiting for the map.</p>`
  const rows = map.nodes.map(node => ({ node, n: frame.nodes[node.id] || { health: 'idle' } }))
  const key = columns[order.column].key
  rows.sort((a, b) => {
    const x = key(a), y = key(b)
    const c = typeof x === 'string' ? x.localeCompare(y) : x - y
    return (order.down ? -c : c) || a.node.id.localeCompare(b.node.id)
  })
  const sort = i => setOrder(o => ({ column: i, down: o.column === i ? !o.down : !columns[i].text }))
  return html`<h1 class="hidden">${frame.system} as a table</h1><${Tiles} frame=${frame} />
  <section class="panel" aria-labelledby="nodes"><h2 id="nodes">Nodes</h2><div class="wide" tabindex="0" role="group" aria-labelledby="nodes"><table class="sortable">
    <thead><tr>${columns.map((c, i) => html`<th scope="col" class=${c.text ? '' : 'n'} aria-sort=${order.column === i ? (order.down ? 'descending' : 'ascending') : undefined}>
      <button type="button" class="link" onClick=${() => sort(i)}>${c.name}${order.column === i ? (order.down ? ' ↓' : ' ↑') : ''}</button></th>`)}<th scope="col">Last minute</th></tr></thead>
    <tbody>${rows.map(({ node, n }) => html`<tr key=${node.id}><th scope="row"><${Link} href=${nodePath(node.id)}>${node.name}<//></th><td>${kindWord[node.kind]}</td><td><${Health} health=${n.health} why=${n.why} /></td>
      <td class="n">${rate(n.rate)}</td><td class="n">${latency(n.p50_ms)}</td><td class="n">${latency(n.p99_ms)}</td><td class="n">${percent(n.errors)}</td><td class="n">${number(n.in_flight)}</td>
      <td class="n">${n.wanted ? (n.ready || 0) + '/' + n.wanted : '–'}</td><td class="n">${n.cores === undefined ? '–' : cores(n.cores)}</td><td class="n muted">${n.expected ? cores(n.expected.cores) : '–'}</td><td class="n">${bytes(n.memory_bytes)}</td>
      <td><${Spark} values=${store.trail.get(node.id) || []} /></td></tr>`)}</tbody></table></div></section>
  <section class="panel" aria-labelledby="calls"><h2 id="calls">Calls</h2><div class="wide" tabindex="0" role="group" aria-labelledby="calls"><table>
    <thead><tr><th scope="col">From</th><th scope="col">To</th><th scope="col" class="n">Requests</th><th scope="col" class="n">p50</th><th scope="col" class="n">p99</th><th scope="col" class="n">Errors</th></tr></thead>
    <tbody>${map.edges.map(e => {
      const c = frame.edges[e.from + '>' + e.to] || {}
      return html`<tr key=${e.from + e.to}><td><${Link} href=${nodePath(e.from)}>${e.from.replace('@', '')}<//></td><td><${Link} href=${nodePath(e.to)}>${e.to.replace('@', '')}<//></td>
        <td class="n">${rate(c.rate)}</td><td class="n">${latency(c.p50_ms)}</td><td class="n">${latency(c.p99_ms)}</td><td class="n">${percent(c.errors)}</td></tr>`
    })}</tbody></table></div></section>`
}
