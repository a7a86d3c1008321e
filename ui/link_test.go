package ui

import (
	"strings"
	"testing"
)

func linked(t *testing.T, modules map[string]string) (string, error) {
	t.Helper()
	files := map[string][]byte{}
	for name, text := range modules {
		files[name] = []byte(text)
	}
	script, err := link(files, "js/main.js")
	return string(script), err
}

func TestLink(t *testing.T) {
	got, err := linked(t, map[string]string{
		"js/main.js": `// export nothing
import { a, b as c } from './one.js'
import two from '../two.js'
const text = 'import this'
two(a, c)
`,
		"js/one.js": `import { b } from './three.js'
export const a = 1
export async function f() { }
export class K extends Error { }
export { b }
export { x, y as z } from './three.js'
`,
		"js/three.js": `const m=1;function n(){}export{m as b,n as x};` + "\n" + `const y = 2
export {
  y,
}
`,
		"two.js": `var t=1;export default function(s){return t}`,
	})
	want := `// js/three.js
const module$0 = (() => {
const m=1;function n(){}
const y = 2;
return { b: m, x: n, y: y }
})();
// js/one.js
const module$1 = (() => {
const { b: b } = module$0;
const a = 1
async function f() { }
class K extends Error { };
return { x: module$0.x, z: module$0.y, b: b, a, f, K }
})();
// two.js
const module$2 = (() => {
var t=1;const module$default = function(s){return t};
return { default: module$default }
})();
// js/main.js
const module$3 = (() => {
// export nothing
const { a: a, b: c } = module$1;
const two = module$2.default;
const text = 'import this'
two(a, c);
return {  }
})();
`
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestLinkRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"import { a } from './main.js'":           "js/main.js needs ./main.js: it needs itself",
		"import { a } from './other.js'":          "js/main.js needs ./other.js: js/other.js needs ./main.js: it needs itself",
		"import { a } from './absent.js'":         "js/main.js needs ./absent.js: there is no such file",
		"import * as a from './leaf.js'":          "is not known",
		"import './leaf.js'":                      "is not known",
		"import a, { b } from './leaf.js'":        "is not known",
		"export * from './leaf.js'":               "is not known",
		"export let a = 1":                        "is not known",
		"export default 7":                        "is not known",
		"const a = () => import('./leaf.js')":     "is not known",
		"const a = import.meta.url":               "is not known",
		"const a = 1; export { a as b }; const c": "is not known",
		"const module$0 = 1":                      "a name of the joined script's own",
	} {
		_, err := linked(t, map[string]string{"js/main.js": text, "js/other.js": "import { a } from './main.js'", "js/leaf.js": "export const a = 1"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
