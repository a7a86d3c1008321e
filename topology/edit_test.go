package topology

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const edited = `
system: edited
services:
  web: {run: x, replicas: {min: 1, max: 4}, limits: {cpu: 1, memory: 64MiB}}
  catalog: {run: y}
routes:
  - {path: /, method: GET, to: web}
  - {name: v1.find, path: /find, to: catalog, timeout: 1s}
`

// editing writes the file and returns it as it is after edits.
func editing(t *testing.T, edits ...string) (*System, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "banyan.yaml")
	if err := os.WriteFile(file, []byte(edited), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := Edits(before, edits...)
	if err != nil {
		return nil, err
	}
	return LoadOver([]string{file}, overlay)
}

func TestEditsChangeWhatTheyName(t *testing.T) {
	sys, err := editing(t, "services.catalog.replicas=3", "services.web.limits.cpu=0.5", "services.web.limits.memory=128MiB",
		"routes.v1.find.timeout=2s", "routes.GET /.retry={attempts: 1}", "listen=127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web, catalog := sys.Services["web"], sys.Services["catalog"]
	if catalog.Replicas.Min != 3 || web.Limits.CPU != 0.5 || web.Limits.Memory != 128<<20 || web.Replicas.Max != 4 {
		t.Errorf("services: %+v %+v", web, catalog)
	}
	if len(sys.Routes) != 2 || sys.Routes[0].Retry.Attempts != 1 || sys.Routes[1].Timeout.Std() != 2*time.Second || sys.Routes[1].Path != "/find" {
		t.Errorf("routes: %+v %+v", sys.Routes[0], sys.Routes[1])
	}
	if sys.Listen != "127.0.0.1:0" {
		t.Errorf("listen: %s", sys.Listen)
	}
}

func TestEditsThatAreNone(t *testing.T) {
	for edit, want := range map[string]string{
		"services.catalog.replicas":       "want PATH=VALUE",
		"=3":                              "want PATH=VALUE",
		"a=b\nc: d":                       "want PATH=VALUE",
		"routes.nobody.timeout=1s":        "there is no such route; the routes are GET /, v1.find",
		"routes.GET /=1s":                 "there is no such route",
		"services.catalog.replica=3":      `did you mean "replicas"`,
		"services.catalog.replicas=three": "replicas",
		"services.web.limits={cpu: [}":    "not YAML",
	} {
		if _, err := editing(t, edit); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", edit, err, want)
		}
	}
}
