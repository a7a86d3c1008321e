// What the views are written with: htm's templates on preact.
import { h, render } from '../vendor/preact/preact.js'
import htm from '../vendor/htm/htm.js'

export const html = htm.bind(h)
export { render }
export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from '../vendor/preact/hooks.js'
