// Hooks of several views.
import { useEffect, useState } from './dom.js'
import { get } from './api.js'

// useFetched asks for a path, again whenever beat changes, and keeps the last answer meanwhile.
export function useFetched(path, beat) {
  const [state, set] = useState({ value: null, error: '', path: '' })
  useEffect(() => {
    if (!path) return
    const stop = new AbortController()
    get(path, stop.signal).then(
      value => set({ value, error: '', path }),
      e => { if (e.name !== 'AbortError') set(s => ({ value: s.path === path ? s.value : null, error: e.message, path })) },
    )
    return () => stop.abort()
  }, [path, beat])
  return state.path === path ? state : { value: null, error: '', path }
}
