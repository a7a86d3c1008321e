// Changes are asked for twice, and take the token.
import { html, useEffect, useId, useRef, useState } from './dom.js'
import { setToken, token } from './api.js'

// Confirm asks whether to do something. act returns a promise; its error is shown, and the dialog stays.
export function Confirm({ title, text, word, act, close }) {
  const ref = useRef(null)
  const id = useId()
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const [ask, setAsk] = useState(!token())
  useEffect(() => {
    const before = document.activeElement
    ref.current.showModal()
    return () => { if (before && before.isConnected) before.focus() }
  }, [])
  const submit = async e => {
    e.preventDefault()
    if (ask) {
      const given = e.currentTarget.elements.namedItem('token').value.trim()
      if (!given) { setError('Without the token nothing can be changed.'); return }
      setToken(given)
    }
    setBusy(true)
    setError('')
    try {
      await act()
      close()
    } catch (err) {
      if (err.status === 401) setAsk(true)
      setError(err.message)
      setBusy(false)
    }
  }
  return html`<dialog ref=${ref} aria-labelledby=${id} onCancel=${e => { e.preventDefault(); if (!busy) close() }}>
    <form onSubmit=${submit}>
      <h2 id=${id}>${title}</h2>
      <p>${text}</p>
      ${ask && html`<label class="field">Token <input name="token" type="password" autocomplete="off" required /></label>
        <p class="muted">'banyan ui' prints an address with it.</p>`}
      ${error && html`<p class="error" role="alert">${error}</p>`}
      <div class="actions">
        <button type="button" onClick=${close} disabled=${busy}>Cancel</button>
        <button type="submit" class="primary" disabled=${busy}>${busy ? 'Working' : word}</button>
      </div>
    </form>
  </dialog>`
}
