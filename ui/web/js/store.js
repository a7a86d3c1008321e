// What all views look at: the present, the map, the time-line. One stream of server-sent events feeds it; the browser
// resumes that by itself where it broke off.
import { get } from './api.js'
import { useLayoutEffect, useState } from './dom.js'

const maxTimeline = 400

export const state = {
  live: 'connecting', // or live, lost
  frame: null,
  map: null,
  timeline: [],
  writable: false,
  loadTests: false,
  features: { logs: false, traces: false, alerts: false },
  loadPoints: [],
  trail: new Map(), // the last minute of each node's rate, for sparklines
}

const listeners = new Set()
const changed = () => listeners.forEach(f => f())

// useStore draws a component anew with each frame.
export function useStore() {
  const [, draw] = useState(0)
  useLayoutEffect(() => {
    const f = () => draw(n => n + 1)
    listeners.add(f)
    return () => listeners.delete(f)
  }, [])
  return state
}

let asked = ''
async function loadMap() {
  try {
    state.map = await get('/v1/map')
    changed()
  } catch { asked = '' /* the next frame asks again */ }
}
function take(frame) {
  const known = state.frame && state.frame.seq === frame.seq
  state.frame = frame
  state.live = 'live'
  if (frame.map !== asked) {
    asked = frame.map
    loadMap()
  }
  if (frame.events.length) state.timeline = state.timeline.concat(frame.events).slice(-maxTimeline)
  for (const [id, n] of known ? [] : Object.entries(frame.nodes)) {
    const t = state.trail.get(id) || []
    t.push(n.rate)
    if (t.length > 60) t.shift()
    state.trail.set(id, t)
  }
  takeLoad(frame.load)
}

// takeLoad collects the looks at a load test, of which a frame has the last.
function takeLoad(load) {
  if (!load) return
  if (state.loadStarted !== load.started) {
    state.loadStarted = load.started
    state.loadPoints = []
    get('/v1/load').then(all => { if (all && all.started === state.loadStarted) { state.loadPoints = all.points; changed() } }, () => {})
  }
  const last = load.points[load.points.length - 1]
  const have = state.loadPoints[state.loadPoints.length - 1]
  if (last && (!have || last.elapsed_s > have.elapsed_s)) state.loadPoints = state.loadPoints.concat(last)
}

function greet(hello) {
  state.timeline = hello.timeline
  state.writable = hello.writable
  state.loadTests = hello.load_tests
  state.features = { logs: hello.logs, traces: hello.traces, alerts: hello.alerts }
  take({ ...hello.frame, events: [] }) // the time-line has them
}

// begin takes what the page came with.
export function begin() {
  const first = JSON.parse(document.getElementById('first').textContent)
  if (!first) return
  state.map = first.map
  asked = first.map.version
  greet(first.hello)
  state.live = 'connecting'
}

export function connect() {
  const source = new EventSource('/v1/stream')
  source.addEventListener('hello', e => {
    greet(JSON.parse(e.data))
    changed()
  })
  source.addEventListener('frame', e => {
    take(JSON.parse(e.data))
    changed()
  })
  source.onerror = () => {
    state.live = 'lost'
    changed()
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000)
  }
}
