package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
)

//go:embed web
var web embed.FS

// contentTypes of the files, for no table of the machine is asked.
var contentTypes = map[string]string{
	".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
}

// views are the paths of the page; what follows a slash at the end is up to it.
var views = []string{"/", "/plan", "/load", "/timeline", "/slos", "/services", "/log", "/trace", "/node/", "/trace/"}

// assets are the files of the page, below a path that changes with their contents, so that browsers keep them for good.
type assets struct {
	base   string // /assets/HASH/
	files  map[string][]byte
	before []byte // of the page, up to where its first figures stand
	behind []byte
	first  func() any
}

// newAssets prepares the files. first returns the figures that each page comes with, so that it need not ask before it can draw.
func newAssets(version string, first func() any) (*assets, error) {
	a := &assets{files: map[string][]byte{}, first: first}
	hash := sha256.New()
	err := fs.WalkDir(web, "web", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || contentTypes[path.Ext(name)] == "" {
			return err
		}
		data, err := web.ReadFile(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(hash, "%s %d\n", name, len(data))
		hash.Write(data)
		a.files[strings.TrimPrefix(name, "web/")] = data
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the page's files: %w", err)
	}
	for _, name := range []string{"css/base.css", "css/map.css", "css/views.css"} { // one answer instead of three
		a.files["css/page.css"] = append(a.files["css/page.css"], a.files[name]...)
		delete(a.files, name)
	}
	a.base = "/assets/" + hex.EncodeToString(hash.Sum(nil))[:16] + "/"
	page, err := web.ReadFile("web/index.html")
	if err != nil {
		return nil, fmt.Errorf("reading the page: %w", err)
	}
	before, behind, ok := bytes.Cut(a.fill(page, version), []byte("<!--first-->"))
	if !ok {
		return nil, errors.New("the page has no place for its first figures")
	}
	a.before, a.behind = before, behind
	return a, nil
}

// imported finds the modules that a module needs before it runs; import() is another matter.
var imported = regexp.MustCompile(`(?m)^(?:import|export) [^'"\n]*from '([^']+)'`)

// needed adds a module and all that it needs to names.
func (a *assets) needed(name string, names map[string]bool) {
	if names[name] || a.files[name] == nil {
		return
	}
	names[name] = true
	for _, m := range imported.FindAllSubmatch(a.files[name], -1) {
		a.needed(path.Join(path.Dir(name), string(m[1])), names)
	}
}

// fill puts the base path into the page, and has the browser fetch the modules that it begins with at once instead of one after the other.
func (a *assets) fill(page []byte, version string) []byte {
	names := map[string]bool{}
	a.needed("js/app.js", names)
	var preloads strings.Builder
	for _, name := range slices.Sorted(maps.Keys(names)) {
		fmt.Fprintf(&preloads, "<link rel=\"modulepreload\" href=\"%s%s\">\n", a.base, name)
	}
	page = bytes.ReplaceAll(page, []byte("<!--modules-->\n"), []byte(preloads.String()))
	page = bytes.ReplaceAll(page, []byte("{version}"), []byte(html.EscapeString(version)))
	return bytes.ReplaceAll(page, []byte("{base}"), []byte(a.base))
}

// ServeHTTP serves the page under each of its views, and its files.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		answer(w, nil, apiError{http.StatusMethodNotAllowed, fmt.Errorf("the page is only read")})
		return
	}
	if name, ok := strings.CutPrefix(r.URL.Path, a.base); ok {
		data, ok := a.files[name]
		if !ok {
			answer(w, nil, missingf("there is no such file"))
			return
		}
		w.Header().Set("Content-Type", contentTypes[path.Ext(name)])
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(data) // an error is the client's going away
		return
	}
	if !slices.ContainsFunc(views, func(v string) bool {
		return r.URL.Path == v || v != "/" && strings.HasSuffix(v, "/") && strings.HasPrefix(r.URL.Path, v)
	}) {
		answer(w, nil, missingf("there is no such page"))
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	first, err := json.Marshal(a.first()) // which has no < in it
	if err != nil {
		first = []byte("null") // the page asks itself
	}
	_, _ = w.Write(slices.Concat(a.before, first, a.behind)) // an error is the client's going away
}
