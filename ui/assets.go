package ui

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
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

// assets are the files of the page, below a path that changes with their contents, so that browsers keep them for good.
type assets struct {
	base  string // /assets/HASH/
	files map[string][]byte
	page  string // with places for what differs from one look to the next
	first func() first
}

// newAssets prepares the files. first returns what each page comes with.
func newAssets(version string, first func() first) (*assets, error) {
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
	a.page = strings.NewReplacer("{version}", html.EscapeString(version), "{base}", a.base).Replace(string(page))
	return a, nil
}

// join makes one file of all styles and one of all scripts, so that few requests are waited for.
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
		if ext := path.Ext(name); ext == ".js" || ext == ".css" {
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
	if _, _, ok := viewOf(r.URL.Path); !ok {
		answer(w, nil, missingf("there is no such page"))
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	a.write(w, r)
}

// write writes the page as it is now, painted, with what its script begins with.
func (a *assets) write(w io.Writer, r *http.Request) {
	f := a.first()
	var app markup
	app.paint(r.URL.Path, f)
	data, err := json.Marshal(f) // which has no < in it
	if err != nil {
		data = []byte("null") // the script waits for the stream
	}
	theme := ""
	if c, err := r.Cookie("banyan-theme"); err == nil && (c.Value == "light" || c.Value == "dark") {
		theme = c.Value
	}
	_, _ = strings.NewReplacer("{theme}", theme, "{title}", html.EscapeString(titleOf(r.URL.Path, f)), "{app}", string(app.out), "{first}", string(data)).
		WriteString(w, a.page) // an error is the client's going away
}
