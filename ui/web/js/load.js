// A load test with the workload of the file, live, and the search for the knee.
import { html, useState } from './dom.js'
import { post, remove } from './api.js'
import { Chart } from './chart.js'
import { Confirm } from './dialog.js'
import { useFetched } from './use.js'
import { known, latency, number, percent, plural, rate, span, time } from './format.js'

function Form({ start }) {
  const [kind, setKind] = useState('file')
  const [amount, setAmount] = useState('')
  const [seconds, setSeconds] = useState('30')
  const [slo, setSLO] = useState('p99<200ms,errors<1%')
  const submit = e => {
    e.preventDefault()
    const req = {}
    if (seconds !== '') req.seconds = Number(seconds)
    if (kind === 'rate') req.rate = Number(amount)
    if (kind === 'users') req.users = Number(amount)
    if (kind === 'knee') { req.find_knee = true; req.slo = slo; if (amount !== '') req.rate = Number(amount) }
    const what = { file: "The workload of the file is sent", rate: amount + ' scenarios are started each second', users: plural(Number(amount), 'user') + ' are let loose', knee: 'The rate is raised until ' + slo + ' breaks' }[kind]
    start(req, what + (kind === 'knee' ? '. That takes some minutes.' : seconds ? ' for ' + span(Number(seconds)) + '.' : '.'))
  }
  return html`<form class="change" onSubmit=${submit}>
    <label class="field">Load <select value=${kind} onChange=${e => { setKind(e.target.value); setAmount('') }}>
      <option value="file">as the file says</option><option value="rate">a rate</option><option value="users">users who wait and think</option><option value="knee">search the knee</option></select></label>
    ${kind !== 'file' && html`<label class="field">${kind === 'users' ? 'Users' : kind === 'knee' ? 'From rate, per second' : 'Scenarios per second'} <input type="number" min=${kind === 'users' ? 1 : 0.1} step=${kind === 'users' ? 1 : 'any'} required=${kind !== 'knee'} value=${amount} onInput=${e => setAmount(e.target.value)} /></label>`}
    ${kind === 'knee' && html`<label class="field">What must hold <input type="text" required value=${slo} onInput=${e => setSLO(e.target.value)} size="24" /></label>`}
    <label class="field">${kind === 'knee' ? 'Seconds of a probe' : 'Seconds'} <input type="number" min="1" max="3600" value=${seconds} onInput=${e => setSeconds(e.target.value)} /></label>
    <button type="submit" class="primary">Start</button></form>`
}

const Stat = ({ name, value }) => html`<div class="tile"><dt>${name}</dt><dd>${value}</dd></div>`

function Found({ s }) {
  if (!s) return null
  return html`<section class="panel" aria-labelledby="found"><h2 id="found">What was found</h2>
    ${known(s.requests) && html`<dl class="tiles"><${Stat} name="Requests" value=${number(s.requests)} /><${Stat} name="Rate" value=${rate(s.rate)} /><${Stat} name="p50" value=${latency(s.p50_ms)} /><${Stat} name="p99" value=${latency(s.p99_ms)} /><${Stat} name="Max" value=${latency(s.max_ms)} /><${Stat} name="Errors" value=${percent(s.errors || 0)} /></dl>`}
    ${known(s.knee_high) && html`<p>The knee is at <b>${rate(s.knee)}</b>${s.knee_low ? ', between ' + rate(s.knee_low) + ' and ' + rate(s.knee_high) : ''}.${s.knee_why ? ' ' + s.knee_why : ''}</p>`}
    ${s.probes && html`<div class="wide" tabindex="0" role="group" aria-label="Probes"><table><thead><tr><th scope="col" class="n">Probe</th><th scope="col" class="n">p99</th><th scope="col">Verdict</th></tr></thead><tbody>${s.probes.map(p => html`<tr><td class="n">${rate(p.rate)}</td><td class="n">${latency(p.p99_ms)}</td><td>${p.verdict}</td></tr>`)}</tbody></table></div>`}
    ${(s.warnings || []).length > 0 && html`<ul class="notes muted">${s.warnings.map(w => html`<li>${w}</li>`)}</ul>`}</section>`
}

export function LoadView({ store }) {
  const [asked, setAsked] = useState(null)
  const now = store.frame.load
  const { value: whole } = useFetched('/v1/load', now ? now.started + String(now.running) : '')
  const load = now && whole && whole.started === now.started ? { ...whole, ...now, summary: whole.summary || now.summary } : now || whole
  const points = store.loadPoints
  const last = points[points.length - 1]
  const start = (req, text) => setAsked({ title: 'Load the system?', text: text + ' Whatever else uses this machine is in the figures, and the record goes beside those of the command line.', word: 'Start the test', act: () => post('/v1/load', req) })
  const stop = () => setAsked({ title: 'Stop the load test?', text: 'What was measured so far is kept.', word: 'Stop the test', act: () => remove('/v1/load') })
  if (!store.loadTests) return html`<h1>Load test</h1><p class="empty">This system's file has no workload, so there is nothing to send. 'banyan load URL' loads any address.</p>`
  const running = load && load.running
  return html`<div class="head"><h1>Load test</h1>${running && html`<button type="button" onClick=${stop}>Stop</button>`}</div>
    ${!running && html`<section class="panel" aria-label="Start a load test">${store.writable ? html`<${Form} start=${start} />` : html`<p class="muted">Nothing can be started from this page.</p>`}
      ${!load && html`<p class="muted note">None was started since the system is up. What a test finds is shown here while it runs, and stays until the next one.</p>`}</section>`}
    ${asked && html`<${Confirm} ...${asked} close=${() => setAsked(null)} />`}
    ${load && html`<p class="muted" role="status">${running ? (last ? (last.warming ? 'Warming up' : 'Running') + ', ' + span(last.elapsed_s) + ' of ' + span(last.length_s) : 'The system is watched for a moment without load, then it begins.') : load.error === 'stopped' ? 'Stopped.' : load.error ? '' : 'Done.'}</p>`}
    ${load && load.error && load.error !== 'stopped' && html`<p class="error" role="alert">${load.error}</p>`}
    ${last && last.trouble && html`<p class="error">${last.trouble}</p>`}
    ${points.length > 0 && html`<section class="panel" aria-labelledby="live"><h2 class="hidden" id="live">Live figures</h2><div class="charts">
      <${Chart} title="Latency" at=${points.map(p => load.started + p.elapsed_s * 1000)} format=${v => time(v)} lines=${[{ name: 'p99', values: points.map(p => p.p99_ms), look: 'one' }, { name: 'p90', values: points.map(p => p.p90_ms), look: 'three' }, { name: 'p50', values: points.map(p => p.p50_ms), look: 'two' }]} />
      <${Chart} title="Sent" at=${points.map(p => load.started + p.elapsed_s * 1000)} format=${v => (known(v) ? number(v) + '/s' : '–')} lines=${[{ name: 'requests', values: points.map(p => p.sent_rate), look: 'one' }, { name: 'failed', values: points.map(p => p.failed_rate), look: 'bad' }]} />
      <${Chart} title="In flight" at=${points.map(p => load.started + p.elapsed_s * 1000)} format=${v => (known(v) ? number(v) : '–')} lines=${[{ name: 'requests', values: points.map(p => p.in_flight), look: 'one' }]} />
    </div></section>`}
    <${Found} s=${load && load.summary} />`
}
