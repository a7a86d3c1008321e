// Plan and what-if: sliders for load, mix, replicas and CPU. The plan itself reckons, in the system, at each move.
import { html, useEffect, useRef, useState } from './dom.js'
import { post } from './api.js'
import { Curve } from './curve.js'
import { cores, known, latency, number, percent, rate, time } from './format.js'

const ms = ns => ns / 1e6

// usePrediction asks for each question in turn: while one is reckoned the next waits, and only the newest is asked.
function usePrediction(question) {
  const [state, set] = useState({ value: null, error: '' })
  const flight = useRef({ busy: false, next: null, gone: false })
  useEffect(() => () => { flight.current.gone = true }, [])
  const key = JSON.stringify(question)
  useEffect(() => {
    const f = flight.current
    f.next = question
    const ask = async () => {
      if (f.busy || !f.next || f.gone) return
      const q = f.next
      f.next = null
      f.busy = true
      try {
        const value = await post('/v1/predict', q)
        if (!f.gone) set({ value, error: '' })
      } catch (e) {
        if (!f.gone) set(s => ({ value: s.value, error: e.message }))
      }
      f.busy = false
      ask()
    }
    ask()
  }, [key])
  return state
}

function Slider({ name, value, min, max, step, show, text, set, unchanged }) {
  return html`<label class=${'slider' + (unchanged ? '' : ' changed')}><span class="what">${name}</span><output>${text || show(value)}</output>
    <input type="range" min=${min} max=${max} step=${step} value=${value} aria-valuetext=${text || show(value)} onInput=${e => set(Number(e.target.value))} /></label>`
}

// The rate goes by a power, so that small ones can be set as finely as large ones.
const toRate = (position, top) => top * (position / 1000) ** 2
const toPosition = (v, top) => Math.round(1000 * Math.sqrt(Math.min(1, v / top)))
const threeDigits = v => (v > 0 ? Number(v.toPrecision(3)) : 0)

function effect(before, after, less) {
  if (!known(before) || !known(after) || before === 0) return ''
  const c = after / before - 1
  if (Math.abs(c) < 0.005) return html`<td class="n muted">same</td>`
  return html`<td class=${'n ' + ((c < 0) === less ? 'better' : 'worse')}>${c > 0 ? '+' : '−'}${percent(Math.abs(c))}</td>`
}

function Summary({ p }) {
  const b = p.before.plan
  const a = p.after.plan
  const lat = (plan, f) => (plan.saturated ? null : f(plan))
  const mean = plan => lat(plan, q => q.routes.reduce((s, r) => s + r.rate * r.mean_ns, 0) / Math.max(q.throughput, 1e-9) / 1e6)
  const p99 = plan => lat(plan, q => Math.max(...q.routes.map(r => r.p99_ns)) / 1e6)
  const use = plan => plan.services.filter(s => s.service !== 'client').reduce((s, v) => s + v.cpu, 0)
  const limit = v => (v > 1e8 ? 'no end' : rate(v))
  const knee = v => (v > 0 ? limit(v) : 'no load keeps the SLOs')
  const rows = [
    ['Mean latency', mean, v => (known(v) ? time(v) : 'saturated'), true],
    ['p99 of the slowest route', p99, v => (known(v) ? time(v) : 'saturated'), true],
    ['Knee', q => q.knee.throughput, knee, false],
    ['Holds at most', q => q.saturation.throughput, limit, false],
    ['CPU, cores', use, cores, true],
  ]
  if (p.before.cost && p.after.cost) rows.push(['Cost a month, ' + p.before.cost.currency, (q, c) => c.month, number, true])
  return html`<table><thead><tr><th scope="col">At ${rate(p.rate)}</th><th scope="col" class="n">As it runs</th>${p.changed && html`<th scope="col" class="n">Changed</th><th scope="col" class="n">Effect</th>`}</tr></thead><tbody>
    ${rows.map(([name, f, show, less]) => {
      const x = f(b, p.before.cost), y = f(a, p.after.cost)
      return html`<tr><th scope="row">${name}</th><td class="n">${show(x)}</td>${p.changed && html`<td class="n">${show(y)}</td>${effect(x, y, less) || html`<td class="n muted">–</td>`}`}</tr>`
    })}
    <tr><th scope="row">First bottleneck</th><td class="n">${b.saturation.by}</td>${p.changed && html`<td class="n">${a.saturation.by}</td><td class="n muted">${a.saturation.by === b.saturation.by ? 'same' : 'moves'}</td>`}</tr>
  </tbody></table>`
}

const trustWord = { good: 'good', fair: 'right in size', poor: 'a hint', none: 'not predicted' }

function Trust({ plan }) {
  return html`<section class="panel" aria-labelledby="trust"><h2 id="trust">How far to trust it</h2><div class="wide" tabindex="0" role="group" aria-labelledby="trust"><table><thead><tr><th scope="col">Figure</th><th scope="col">Trust</th><th scope="col">Method</th><th scope="col">Why no further</th></tr></thead>
    <tbody>${plan.claims.map(c => html`<tr><th scope="row">${c.what}</th><td><span class=${'trust ' + c.trust}>${trustWord[c.trust]}</span></td><td class="wrap">${c.method}</td><td class="wrap muted">${(c.why || []).join('; ')}</td></tr>`)}</tbody></table></div>
    ${(plan.notes || []).length > 0 && html`<ul class="notes muted">${plan.notes.map(n => html`<li>${n}</li>`)}</ul>`}</section>`
}

export function PlanView() {
  const [asked, setAsked] = useState({})
  const [which, setWhich] = useState('p99_ms')
  const [scale, setScale] = useState(0)
  const { value: p, error } = usePrediction(asked)
  useEffect(() => { // the slider's end stays where the first answer has put it
    if (p && !scale) setScale(threeDigits(2 * Math.max(p.rate, p.before.plan.saturation.throughput < 1e8 ? p.before.plan.saturation.throughput : 0)))
  }, [p])
  if (!p) return html`<h1>Plan and what-if</h1>${error ? html`<p class="error" role="alert">${error}</p>` : html`<p class="empty">The plan is being reckoned.</p>`}`
  const change = part => setAsked(a => ({ ...a, ...part }))
  const put = (field, name, v, now) => setAsked(a => {
    const next = { ...(a[field] || {}) }
    if (v === now) delete next[name]
    else next[name] = v
    return { ...a, [field]: next }
  })
  const top = scale || 2 * p.rate
  const at = asked.rate || p.rate
  const mix = asked.mix || p.mix
  const routes = Object.keys(p.mix).sort((x, y) => p.mix[y] - p.mix[x] || x.localeCompare(y))
  const whole = Object.values(mix).reduce((s, v) => s + v, 0)
  const touched = Object.values(asked).some(v => (typeof v === 'object' ? Object.keys(v).length : v))
  const busy = new Map(p.after.plan.services.map(s => [s.service, s]))
  return html`<div class="head"><h1>Plan and what-if</h1><button type="button" disabled=${!touched} onClick=${() => setAsked({})}>Reset</button></div>
  ${error && html`<p class="error" role="alert">${error}</p>`}
  <div class="plan">
    <section class="panel controls" aria-label="What if">
      <h2>Load</h2>
      <${Slider} name="All requests" min=${1} max=${1000} step=${1} value=${toPosition(at, top)} show=${v => rate(Math.max(0.1, threeDigits(toRate(v, top))))} unchanged=${!asked.rate} text=${rate(at)} set=${v => change({ rate: Math.max(0.1, threeDigits(toRate(v, top))) })} />
      ${routes.length > 1 && html`<h2>Mix</h2>${routes.slice(0, 12).map(r => html`<${Slider} key=${r} name=${r} min=${0} max=${100} step=${1} value=${Math.round(100 * mix[r] / whole)} unchanged=${!asked.mix} show=${v => v + ' %'}
        set=${v => { // the others keep their proportions
          const others = 1 - mix[r] / whole
          const next = {}
          for (const k of Object.keys(mix)) next[k] = k === r ? v / 100 : others > 0 ? (mix[k] / whole) / others * (1 - v / 100) : (1 - v / 100) / (Object.keys(mix).length - 1)
          change({ mix: next })
        }} />`)}`}
      <h2>Services</h2>
      ${p.present.map(s => {
        const n = (asked.replicas || {})[s.service] ?? s.replicas
        const c = (asked.cpu || {})[s.service] ?? s.cpu
        const u = busy.get(s.service)
        return html`<fieldset key=${s.service}><legend>${s.service}${u ? html` <span class="muted">${percent(u.utilisation)} used</span>` : ''}</legend>
          <${Slider} name="replicas" min=${1} max=${Math.max(12, s.max, s.replicas * 3)} step=${1} value=${n} show=${String} unchanged=${n === s.replicas} set=${v => put('replicas', s.service, v, s.replicas)} />
          <${Slider} name="CPU of each" min=${0} max=${Math.max(4, s.cpu * 2)} step=${0.05} value=${c} show=${v => (v === 0 ? 'no limit' : cores(v))} unchanged=${c === s.cpu} set=${v => put('cpu', s.service, v, s.cpu)} /></fieldset>`
      })}
    </section>
    <div>
      <section class="panel" aria-labelledby="curve"><div class="tools"><h2 id="curve">Latency over load</h2>
        <span class="keys"><span class="key"><span class="swatch two" aria-hidden="true"></span>as it runs</span>${p.changed && html`<span class="key"><span class="swatch one" aria-hidden="true"></span>changed</span>`}</span>
        <div class="group" role="group" aria-label="Figure">${[['mean_ms', 'mean'], ['p99_ms', 'p99']].map(([k, n]) => html`<button type="button" aria-pressed=${which === k} onClick=${() => setWhich(k)}>${n}</button>`)}</div></div>
        <${Curve} p=${p} which=${which} />
        <div class="wide" tabindex="0" role="group" aria-label="Before and after"><${Summary} p=${p} /></div>
        <p class="muted note">Reckoned by the plan in ${time(p.took_ms)}.</p></section>
      <section class="panel" aria-labelledby="routes"><h2 id="routes">Routes</h2><div class="wide" tabindex="0" role="group" aria-labelledby="routes"><table><thead><tr><th scope="col">Route</th><th scope="col" class="n">Requests</th><th scope="col" class="n">Mean</th><th scope="col" class="n">p50</th><th scope="col" class="n">p95</th><th scope="col" class="n">p99</th></tr></thead>
        <tbody>${p.after.plan.routes.map(r => html`<tr key=${r.route}><th scope="row">${r.route}</th><td class="n">${rate(r.rate)}</td><td class="n">${latency(ms(r.mean_ns))}</td><td class="n">${latency(ms(r.p50_ns))}</td><td class="n">${latency(ms(r.p95_ns))}</td><td class="n">${latency(ms(r.p99_ns))}</td></tr>`)}</tbody></table></div></section>
      ${(p.after.plan.changes || []).length > 0 && html`<section class="panel" aria-labelledby="changes"><h2 id="changes">What one change would do</h2><div class="wide" tabindex="0" role="group" aria-labelledby="changes"><table><thead><tr><th scope="col">Change</th><th scope="col" class="n">Knee</th><th scope="col" class="n">Gain</th><th scope="col" class="n">Mean</th><th scope="col" class="n">p99</th></tr></thead>
        <tbody>${p.after.plan.changes.map(c => html`<tr><th scope="row">${c.what.replace('->', '→')}</th><td class="n">${c.knee > 1e8 ? 'no end' : c.knee > 0 ? rate(c.knee) : 'none'}</td><td class="n">${Math.abs(c.gain) < 0.005 ? 'none' : (c.gain > 0 ? '+' : '−') + percent(Math.abs(c.gain))}</td><td class="n">${latency(ms(c.mean_ns))}</td><td class="n">${latency(ms(c.p99_ns))}</td></tr>`)}</tbody></table></div></section>`}
      <${Trust} plan=${p.after.plan} />
    </div>
  </div>`
}
