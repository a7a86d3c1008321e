// Views have addresses of their own; links are real ones, taken without loading the page anew.
import { html, useLayoutEffect, useState } from './dom.js'

const listeners = new Set()

export function go(path) {
  if (path !== location.pathname + location.search) history.pushState(null, '', path)
  listeners.forEach(f => f())
  window.scrollTo(0, 0)
  const main = document.querySelector('main')
  if (main) main.focus({ preventScroll: true })
}

addEventListener('popstate', () => listeners.forEach(f => f()))

export function usePath() {
  const [path, set] = useState(location.pathname)
  useLayoutEffect(() => { // at once: between drawing and a later effect somebody may follow a link
    const f = () => set(location.pathname)
    listeners.add(f)
    return () => listeners.delete(f)
  }, [])
  return path
}

// follow takes a click on a link, unless it asks for another tab.
export function follow(e) {
  if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return
  const link = e.currentTarget
  e.preventDefault()
  go(link.getAttribute('href'))
}

export const Link = ({ href, children, ...rest }) => html`<a href=${href} onClick=${follow} ...${rest}>${children}</a>`

export const nodePath = id => '/node/' + encodeURIComponent(id)
