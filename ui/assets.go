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
	err := fs.WalkDir(web, "web", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || contentTypes[path.Ext(name)] == "" {
			return err
		}
		data, err := web.ReadFile(name)
		if err != nil {
			return err
		}
		a.files[strings.TrimPrefix(name, "web/")] = data
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the page's files: %w", err)
	}
	if err := a.join(); err != nil {
		return nil, err
	}
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		fmt.Fprintf(hash, "%s %d\n", name, len(a.files[name]))
		hash.Write(a.files[name])
	}
	a.base = "/assets/" + hex.EncodeToString(hash.Sum(nil))[:16] + "/"
	page, err := web.ReadFile("web/index.html")
	if err != nil {
		return nil, fmt.Errorf("reading the page: %w", err)
	}
	page = bytes.ReplaceAll(page, []byte("{version}"), []byte(html.EscapeString(version)))
	page = bytes.ReplaceAll(page, []byte("{base}"), []byte(a.base))
	before, behind, ok := bytes.Cut(page, []byte("<!--first-->"))
	if !ok {
		return nil, errors.New("the page has no place for its first figures")
	}
	a.before, a.behind = before, behind
	return a, nil
}

// join makes one file of all styles and one of all scripts but that which runs before anything is drawn, so that few requests are waited for.
func (a *assets) join() error {
	script, err := link(a.files, "js/app.js")
	if err != nil {
		return err
	}
	var styles []byte
	for _, name := range []string{"css/base.css", "css/map.css", "css/views.css"} {
		styles = append(styles, a.files[name]...)
	}
	for name := range a.files {
		if ext := path.Ext(name); ext == ".js" && name != "js/theme.js" || ext == ".css" {
			delete(a.files, name)
		}
	}
	a.files["css/page.css"], a.files["js/page.js"] = styles, script
	return nil
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
