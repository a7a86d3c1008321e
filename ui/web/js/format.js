// Figures in words. Three digits are as many as anybody reads.

const compact = (v, digits = 3) => {
  if (v === 0) return '0'
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(v))))
  return v.toFixed(Math.min(decimals, 3))
}

export const known = v => v !== null && v !== undefined && Number.isFinite(v)

export function number(v) {
  if (!known(v)) return '–'
  const a = Math.abs(v)
  if (a >= 1e6) return compact(v / 1e6) + 'M'
  if (a >= 1e4) return compact(v / 1e3) + 'k'
  if (a >= 1000) return Math.round(v).toString()
  if (a >= 100 || Number.isInteger(v)) return v.toFixed(0)
  return a >= 1 ? v.toFixed(1) : compact(v, 2)
}

export const rate = v => (known(v) ? number(v) + '/s' : '–')

export function time(milliseconds) {
  const v = milliseconds
  if (!known(v)) return '–'
  if (v === 0) return '0 ms'
  if (v < 1) return (v * 1000).toFixed(0) + ' µs'
  if (v < 1000) return compact(v) + ' ms'
  if (v < 60000) return compact(v / 1000) + ' s'
  return span(v / 1000)
}

// latency of calls; no call has taken no time.
export const latency = v => (v > 0 ? time(v) : '–')

export function percent(share) {
  if (!known(share)) return '–'
  const v = share * 100
  if (v === 0) return '0 %'
  if (v < 0.01) return '< 0.01 %'
  return compact(v) + ' %'
}

export function bytes(v) {
  if (!known(v)) return '–'
  for (const unit of ['B', 'KiB', 'MiB', 'GiB', 'TiB']) {
    if (Math.abs(v) < 1000 || unit === 'TiB') return (unit === 'B' ? v.toFixed(0) : compact(v)) + ' ' + unit
    v /= 1024
  }
}

export const cores = v => (known(v) ? compact(v, v < 0.1 ? 2 : 3) : '–')

export function span(seconds) {
  if (seconds < 60) return Math.round(seconds) + ' s'
  if (seconds < 3600) return Math.floor(seconds / 60) + ' min'
  const two = (n, unit, m, part) => n + unit + (m > 0 ? ' ' + m + part : '')
  if (seconds < 86400) return two(Math.floor(seconds / 3600), ' h', Math.floor((seconds % 3600) / 60), ' min')
  return two(Math.floor(seconds / 86400), ' d', Math.floor((seconds % 86400) / 3600), ' h')
}

const two = n => String(n).padStart(2, '0')

export function clock(at) {
  const d = new Date(at)
  return two(d.getHours()) + ':' + two(d.getMinutes()) + ':' + two(d.getSeconds())
}

export function date(at) {
  const d = new Date(at)
  return d.getFullYear() + '-' + two(d.getMonth() + 1) + '-' + two(d.getDate())
}

// tick writes a value of a scale without digits that say nothing.
export const tick = text => text.replace(/(\.\d*?)0+(?=\D|$)/, '$1').replace(/\.(?=\D|$)/, '')

export const plural = (n, word) => n + ' ' + word + (n === 1 ? '' : 's')

export const healthWord = { idle: 'Idle', ok: 'Healthy', warning: 'Warning', failing: 'Failing' }
export const kindWord = {
  clients: 'Clients', gateway: 'Gateway', service: 'Service', external: 'External service', cache: 'Cache', table: 'Table', queue: 'Queue', topic: 'Topic', function: 'Function',
}
