// The frame around all views: navigation, what state the stream is in, the theme.
import { html, hydrate, useEffect, useRef, useState } from './dom.js'
import { begin, connect, useStore } from './store.js'
import { Link, usePath } from './router.js'
import { span } from './format.js'
import { MapView } from './map.js'
import { ServicesView } from './services.js'
import { NodeView } from './node.js'
import { PlanView } from './plan.js'
import { LoadView } from './load.js'
import { SLOView } from './slos.js'
import { LogsView } from './logs.js'
import { TraceView, TracesView } from './traces.js'
import { TimelineView } from './timeline.js'

const views = [
  { path: '/', name: 'Map', view: MapView },
  { path: '/services', name: 'Table', view: ServicesView },
  { path: '/plan', name: 'Plan', view: PlanView },
  { path: '/load', name: 'Load test', view: LoadView },
  { path: '/slos', name: 'SLOs', view: SLOView },
  { path: '/log', name: 'Logs', view: LogsView, needs: 'logs' },
  { path: '/trace', name: 'Traces', view: TracesView, needs: 'traces' },
  { path: '/timeline', name: 'Timeline', view: TimelineView },
]

function Theme() {
  const current = () => document.documentElement.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')
  const [theme, set] = useState(current)
  const other = theme === 'dark' ? 'light' : 'dark'
  const flip = () => {
    document.documentElement.dataset.theme = other
    document.cookie = 'banyan-theme=' + other + '; path=/; max-age=31536000; samesite=strict' // for the server, so that no page flashes in the other one
    set(other)
  }
  return html`<button class="icon" type="button" onClick=${flip} aria-label="Switch theme" title="Switch theme">
    <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><circle cx="8" cy="8" r="5.5" class="ring" /><path d="M8 2.5a5.5 5.5 0 0 1 0 11Z" class="fill" /></svg>
  </button>`
}

function Live({ store }) {
  const words = { connecting: 'Connecting', live: 'Live', lost: 'Reconnecting' }
  const state = store.frame && store.live === 'live' && store.frame.state !== 'serving' ? store.frame.state : ''
  return html`<span class=${'live ' + store.live} role="status"><span class="lamp" aria-hidden="true"></span>${state || words[store.live]}</span>`
}

function App() {
  const store = useStore()
  const path = usePath()
  const main = useRef(null)
  const isNode = path.startsWith('/node/')
  const shown = views.filter(v => !v.needs || store.features[v.needs])
  const current = shown.find(v => v.path === path)
  const trace = path.startsWith('/trace/') && store.features.traces ? decodeURIComponent(path.slice('/trace/'.length)) : ''
  const node = isNode ? decodeURIComponent(path.slice('/node/'.length)) : ''
  const system = store.frame ? store.frame.system : 'Banyan'
  useEffect(() => {
    document.title = (isNode ? node.replace('@', '') : trace ? 'Trace' : current ? current.name : 'Not found') + ' · ' + system
  }, [path, system])
  const nav = useRef(null)
  useEffect(() => { // on a telephone not all names fit
    const link = nav.current.querySelector('[aria-current]')
    if (link) nav.current.scrollLeft = Math.max(0, link.offsetLeft + link.offsetWidth / 2 - nav.current.clientWidth / 2)
  }, [path])
  const View = current && current.view
  return html`
    <a class="skip" href="#main" onClick=${e => { e.preventDefault(); main.current.focus() }}>Skip to content</a>
    <header class="top">
      <${Link} class="brand" href="/" aria-label=${system + ', map'}>
        <svg viewBox="0 0 16 16" width="18" height="18" aria-hidden="true"><path d="M8 2.5v11M4 6v7.5M12 6v7.5M2 6h12" /></svg>
        <span>${system}</span>
      <//>
      <nav aria-label="Views" ref=${nav}>
        ${shown.map(v => html`<${Link} href=${v.path} aria-current=${v === current || (isNode && v.path === '/') || (trace && v.path === '/trace') ? 'page' : undefined}>${v.name}<//>`)}
      </nav>
      <div class="right">
        ${store.frame && html`<span class="up muted">${'up ' + span(store.frame.up_s)}</span>`}
        <${Live} store=${store} />
        <${Theme} />
      </div>
    </header>
    <main id="main" tabindex="-1" ref=${main}>
      ${!store.frame ? html`<p class="empty">Waiting for the first figures.</p>`
        : isNode ? html`<${NodeView} key=${node} id=${node} store=${store} />`
        : trace ? html`<${TraceView} key=${trace} id=${trace} />`
        : View ? html`<${View} key=${path} store=${store} />`
        : html`<p class="empty">There is no such view. <${Link} href="/">Go to the map<//></p>`}
    </main>`
}

// The page comes painted. Once that has been seen, this takes it over: the same elements, with what they do, and the stream of new figures.
const seen = then => document.hidden ? then() : requestAnimationFrame(() => setTimeout(then))
seen(() => {
  begin()
  hydrate(html`<${App} />`, document.getElementById('app'))
  connect()
})
