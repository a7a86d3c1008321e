package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html"
	"io/fs"
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
	base  string // /assets/HASH/
	files map[string][]byte
	index []byte
}

func newAssets(version string) (*assets, error) {
	a := &assets{files: map[string][]byte{}}
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
	a.base = "/assets/" + hex.EncodeToString(hash.Sum(nil))[:16] + "/"
	page, err := web.ReadFile("web/index.html")
	if err != nil {
		return nil, fmt.Errorf("reading the page: %w", err)
	}
	a.index = a.fill(page, version)
	return a, nil
}

// fill puts the base path into the page, and has the browser fetch all modules at once instead of one after the other.
func (a *assets) fill(page []byte, version string) []byte {
	var names []string
	for name := range a.files {
		if strings.HasSuffix(name, ".js") && name != "js/theme.js" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var preloads strings.Builder
	for _, name := range names {
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
	_, _ = w.Write(a.index)
}
