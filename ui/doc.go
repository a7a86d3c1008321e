// Package ui is the page of a running system: the live map of the architecture, each service with what the plan expects
// beside what is measured, plan and what-if, load tests, one time-line, the board of SLOs. It is served on the admin
// address of 'banyan up' and of 'banyan gateway', together with the control API that page and command line share.
//
// Server is an http.Handler. What it needs of the system it declares as System; cmd/banyan joins the two. Operations
// lists every operation of the API with its types; handlers and the OpenAPI document (/api/openapi.json) come from the
// same list. The page itself lies under web/: plain ES modules that are embedded as they are, no build step.
//
// A page comes painted: paint.go and picture.go write the frame around all views, the tiles and the map with the figures of that moment into
// the HTML, so that they are seen as soon as the style sheet is there. The script draws the same with preact and takes over the elements that
// it finds. Both are one drawing in two languages, for the strict policy allows no other way to have the first without the second; tests
// compare them element by element, and their words for figures, in a browser.
//
// What it promises:
//   - Only programs on this machine are answered, and only under a name of this machine (DNS rebinding).
//   - What changes the system takes the token of the state directory and, from a browser, a page of the same origin.
//   - Nothing is fetched from elsewhere, and no script or style runs that is not a file of ours (a strict
//     Content-Security-Policy).
//   - The work that a page causes is bounded: figures are computed once a second however many pages look, predictions
//     one at a time, histories once for each span.
//
// What it never does: it decides nothing, and it keeps no figure beyond a cache; with no page open it does nothing.
//
// Server.Run owns the goroutines: the one that sends figures, and load tests that were started from the page.
package ui
