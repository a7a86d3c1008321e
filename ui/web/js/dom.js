// What the views are written with: htm's templates on preact.
import { h, hydrate } from '../vendor/preact/preact.js'
import htm from '../vendor/htm/htm.js'

export const html = htm.bind(h)
export { hydrate }
export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from '../vendor/preact/hooks.js'
