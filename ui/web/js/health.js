// How a node is doing: a form and a word, so that colour only repeats it.
import { html } from './dom.js'
import { healthWord } from './format.js'

const forms = {
  idle: 'M2.5 6h7',
  ok: 'M2.6 6.4 5 8.6l4.4-5',
  warning: 'M6 1.8 10.8 10.2H1.2Z',
  failing: 'M2.5 2.5l7 7M9.5 2.5l-7 7',
}

// HealthMark is the form alone, to be drawn into another picture.
export const HealthMark = ({ health, x = 0, y = 0 }) => html`<path class=${'mark-' + health} transform=${'translate(' + x + ' ' + y + ')'} d=${forms[health]} />`

export const Health = ({ health, why }) => html`<span class=${'health ' + health} title=${why || undefined}>
  <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true"><${HealthMark} health=${health} /></svg>${healthWord[health]}</span>`
