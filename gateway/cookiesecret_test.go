package gateway

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

// cookieFor returns what a gateway of its own binds a client with to the backend of key 7.
func cookieFor(t *testing.T, cfg Config) string {
	t.Helper()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := g.table.Load().routes[0].sticky
	value := s.seal(7)
	if key, ok := s.open(value); !ok || key != 7 {
		t.Fatalf("its own cookie is read as %d, %v", key, ok)
	}
	return value
}

func TestStickySessionsOutliveTheGateway(t *testing.T) {
	sticky := eachInbound(shop(), func(in *topology.Inbound) { in.Sticky = &topology.Sticky{} })
	one, two := t.TempDir(), t.TempDir()
	first := cookieFor(t, Config{System: sticky, StateDir: one})
	if again := cookieFor(t, Config{System: sticky, StateDir: one}); again != first {
		t.Error("a restart ends the sessions")
	}
	if info, err := os.Stat(filepath.Join(one, "sticky.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret: %v, %v", info, err)
	}
	if other := cookieFor(t, Config{System: sticky, StateDir: two}); other == first {
		t.Error("two systems share a secret")
	}
	if given := cookieFor(t, Config{System: sticky, StateDir: one, Secret: []byte("0123456789abcdef")}); given == first {
		t.Error("the secret that is given does not count")
	}
	if a, b := cookieFor(t, Config{System: sticky}), cookieFor(t, Config{System: sticky}); a == b {
		t.Error("a secret that nobody keeps is the same twice")
	}
	if _, err := New(Config{System: shop(), StateDir: filepath.Join(one, "sticky.key", "not-a-folder")}); err != nil {
		t.Errorf("where nothing is sticky nothing is read: %v", err)
	}
	if err := os.WriteFile(filepath.Join(two, "sticky.key"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{System: sticky, StateDir: two}); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("a secret that was cut off: %v", err)
	}
}

// All gateways of a system honour each other's cookies.
func TestStickySessionsOverSeveralGateways(t *testing.T) {
	key := filepath.Join(t.TempDir(), "gateways.key")
	if err := os.WriteFile(key, bytes.Repeat([]byte("k"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	cookies := map[string]bool{}
	for _, listen := range []string{"127.0.0.1:7901", "127.0.0.1:7902"} { // which nobody binds here
		s := eachInbound(shop(), func(in *topology.Inbound) { in.Sticky = &topology.Sticky{} })
		s.Gateways = &topology.Gateways{Listen: listen, Peers: []string{"127.0.0.1:7901", "127.0.0.1:7902"}, SecretFile: key}
		cookies[cookieFor(t, Config{System: s, StateDir: t.TempDir()})] = true
	}
	if len(cookies) != 1 {
		t.Errorf("two gateways sign differently: %v", cookies)
	}
}

func TestSecretIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "sticky.key")
	var all [8][]byte
	var making sync.WaitGroup
	for i := range all {
		making.Go(func() {
			var err error
			if all[i], err = storedSecret(path); err != nil {
				t.Error(err)
			}
		})
	}
	making.Wait()
	for _, s := range all {
		if !bytes.Equal(s, all[0]) || len(s) != cookieSecretSize {
			t.Fatalf("%x and %x", s, all[0])
		}
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
