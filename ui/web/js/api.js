// The control API. The token comes in the fragment of the address that 'banyan ui' prints, which no server ever sees, and
// stays in this tab.

const key = 'banyan-token'
let memory = ''

function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token')
  if (!given) return
  setToken(given)
  history.replaceState(null, '', location.pathname + location.search)
}

export function setToken(value) {
  memory = value.trim()
  try { sessionStorage.setItem(key, memory) } catch { /* it holds until the page is left */ }
}

export function token() {
  if (memory) return memory
  try { return sessionStorage.getItem(key) || '' } catch { return '' }
}

takeToken()

export class APIError extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

async function call(method, path, body, signal) {
  const headers = {}
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  if (token()) headers.Authorization = 'Bearer ' + token()
  let answer
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal })
  } catch (e) {
    if (e.name === 'AbortError') throw e
    throw new APIError(0, 'The system does not answer.')
  }
  const text = await answer.text()
  let value
  try { value = JSON.parse(text) } catch { throw new APIError(answer.status, 'The system answered ' + answer.status + '.') }
  if (!answer.ok) throw new APIError(answer.status, value.error || 'The system answered ' + answer.status + '.')
  return value
}

export const get = (path, signal) => call('GET', path, undefined, signal)
export const post = (path, body, signal) => call('POST', path, body, signal)
export const remove = path => call('DELETE', path)
