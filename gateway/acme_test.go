package gateway

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/banyanhq/banyan/gateway/certs"
	"github.com/banyanhq/banyan/gateway/certs/acmetest"
	"github.com/banyanhq/banyan/topology"
)

// A gateway that starts without a certificate gets one from an authority that comes to its own listeners, though plain
// requests are redirected and clients need certificates of their own; and serves with it.
func TestACME(t *testing.T) {
	for _, challenge := range []string{topology.TLSALPN, topology.HTTP01} {
		t.Run(challenge, func(t *testing.T) {
			server := acmetest.Start(t)
			dir := t.TempDir()
			ca := filepath.Join(dir, "directory.pem")
			if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
				t.Fatal(err)
			}
			clients := newAuthority(t, "clients")
			mine := clients.leaf("client.test", time.Hour).pair()
			sys := shop()
			sys.TLS = &topology.TLS{
				Listen: "127.0.0.1:0", Redirect: true, Clients: &topology.TLSClients{CA: clients.root(), Require: true},
				ACME: &topology.ACME{Domains: []string{"shop.test"}, Directory: server.Directory, CA: ca, Challenge: challenge},
			}
			// The authority learns the ports before the gateway asks it for anything.
			r := start(t, Config{System: sys, StateDir: dir}, func(g *Gateway) {
				if err := g.Listen(); err != nil {
					t.Fatal(err)
				}
				server.Reach(g.TLSAddr().(*net.TCPAddr).Port, g.Addr().(*net.TCPAddr).Port)
			})
			r.serve("web", text("web"))
			config := &tls.Config{RootCAs: server.Issuers(t), ServerName: "shop.test", Certificates: []tls.Certificate{mine}}
			untilWithin(t, time.Minute, "the certificate is there", func() bool {
				c, err := tls.Dial("tcp", r.TLSAddr().String(), config)
				if err == nil {
					c.Close()
				}
				return err == nil
			})
			transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			if res, body := over(t, &http.Client{Transport: transport}, "https://"+r.TLSAddr().String()+"/"); body != "web" || res.ProtoMajor != 2 {
				t.Errorf("%s %q", res.Proto, body)
			}
			// What is no challenge goes the way of all requests.
			if a := r.get(certs.ChallengePath + "nobody-asked-for-this"); a.status != 308 {
				t.Errorf("answered %d", a.status)
			}
		})
	}
}
