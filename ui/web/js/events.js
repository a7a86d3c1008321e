// What happened, as a list.
import { html } from './dom.js'
import { Link, nodePath } from './router.js'
import { clock } from './format.js'

export function EventList({ events }) {
  return html`<ol class="events">${events.map(e => html`<li key=${e.id} class=${e.bad ? 'bad' : ''}>
    <time datetime=${new Date(e.at).toISOString()}>${clock(e.at)}</time><span class=${'tag ' + e.kind}>${e.kind}</span>
    <span class="what">${e.service ? html`<${Link} href=${nodePath(e.service)}>${e.replica || e.service}<//> ` : ''}${e.what}${e.why ? html`<span class="muted"> · ${e.why}</span>` : ''}</span></li>`)}</ol>`
}
