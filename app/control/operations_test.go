package control

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// The document has every call that there is, and no other.
func TestOperationsAreTheHandlers(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var handled, described []string
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`mux\.HandleFunc\("([A-Z]+ /v1/[^"]+)"`).FindAllStringSubmatch(string(text), -1) {
			handled = append(handled, m[1])
		}
	}
	mux := handler(nil)
	for _, o := range Operations() {
		described = append(described, o.Method+" "+o.Path)
		r, err := http.NewRequest(o.Method, "http://x"+o.Path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, pattern := mux.Handler(r); pattern != o.Method+" "+o.Path {
			t.Errorf("%s %s is answered by %q", o.Method, o.Path, pattern)
		}
		if o.Summary == "" || (o.Method == "GET" && o.Answer == nil) {
			t.Errorf("%s %s is not described", o.Method, o.Path)
		}
		if o.Method != "GET" && !o.Secret {
			t.Errorf("%s %s changes the system, and is not secret", o.Method, o.Path)
		}
	}
	slices.Sort(handled)
	slices.Sort(described)
	if !slices.Equal(handled, described) {
		t.Errorf("handled are\n%v\ndescribed are\n%v", handled, described)
	}
}
