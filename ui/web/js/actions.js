// What can be done to a service: scale it, give its replicas other limits, replace them one by one.
import { html, useState } from './dom.js'
import { post } from './api.js'
import { Confirm } from './dialog.js'
import { plural } from './format.js'

export function Actions({ detail, writable }) {
  const s = detail.status
  const name = s.service
  const limit = v => (v === '0' || v === 0 || !v ? '' : String(v))
  const [replicas, setReplicas] = useState(null)
  const [cpu, setCPU] = useState(null)
  const [memory, setMemory] = useState(null)
  const [asked, setAsked] = useState(null)
  const [done, setDone] = useState('')
  const now = { replicas: String(s.desired), cpu: limit(s.cpu), memory: limit(s.memory) }
  const want = { replicas: replicas ?? now.replicas, cpu: cpu ?? now.cpu, memory: memory ?? now.memory }
  const body = { service: name }
  const words = []
  if (want.replicas !== now.replicas && want.replicas !== '') { body.replicas = Number(want.replicas); words.push(plural(body.replicas, 'replica') + ' instead of ' + now.replicas) }
  if (want.cpu !== now.cpu) { body.cpu = want.cpu || '0'; words.push(want.cpu ? 'a CPU limit of ' + want.cpu : 'no CPU limit') }
  if (want.memory !== now.memory) { body.memory = want.memory || '0'; words.push(want.memory ? 'a memory limit of ' + want.memory : 'no memory limit') }
  const clear = () => { setReplicas(null); setCPU(null); setMemory(null) }
  const step = by => setReplicas(String(Math.max(0, Number(want.replicas || 0) + by)))
  const apply = e => {
    e.preventDefault()
    if (!words.length) return
    setAsked({
      title: 'Scale ' + name + '?', text: name + ' gets ' + words.join(', ') + '. Replicas that go finish their requests first.', word: 'Scale ' + name,
      act: async () => { await post('/v1/scale', body); clear(); setDone(name + ' has ' + words.join(', ') + '.') },
    })
  }
  const restart = () => setAsked({
    title: 'Restart ' + name + '?', text: 'All ' + plural(s.replicas ? s.replicas.length : 0, 'replica') + ' are replaced, one after the other. Requests in flight are finished.', word: 'Restart ' + name,
    act: async () => { await post('/v1/restart', { service: name }); setDone(name + ' was restarted.') },
  })
  if (!writable) return null
  return html`<section class="panel" aria-labelledby="actions"><h2 id="actions">Change</h2>
    <form class="change" onSubmit=${apply}>
      <label class="field">Replicas
        <span class="stepper"><button type="button" onClick=${() => step(-1)} aria-label="One replica fewer">−</button>
        <input type="number" min="0" max="10000" step="1" value=${want.replicas} onInput=${e => setReplicas(e.target.value)} />
        <button type="button" onClick=${() => step(1)} aria-label="One replica more">+</button></span></label>
      <label class="field">CPU of each <input type="text" inputmode="decimal" placeholder="no limit" value=${want.cpu} onInput=${e => setCPU(e.target.value.trim())} size="8" /></label>
      <label class="field">Memory of each <input type="text" placeholder="no limit" value=${want.memory} onInput=${e => setMemory(e.target.value.trim())} size="10" /></label>
      <button type="submit" class="primary" disabled=${!words.length}>Scale</button>
      <button type="button" onClick=${restart}>Restart</button>
    </form>
    <p class="muted">The file allows ${detail.min} to ${detail.max} replicas.${s.limits_advisory ? ' Limits are advisory: ' + s.limits_advisory + '.' : ''}</p>
    ${s.replacing && html`<p class="muted" role="status">Replicas are being replaced.</p>`}
    ${s.replace_error && html`<p class="error">${s.replace_error}</p>`}
    ${done && html`<p class="done" role="status">${done}</p>`}
    ${asked && html`<${Confirm} ...${asked} close=${() => setAsked(null)} />`}
  </section>`
}
