package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/topology"
)

// gatewayFlags are what the gateway that stands alone takes from its command line rather than from a file.
type gatewayFlags struct {
	listen, admin, balance, accessLog, logFormat string
	tls, acmeEmail, acmeDirectory                string
	record                                       string
	zone, peerListen, peerSecret                 string
	backends, acme, peers                        []string
	takeOver, detach, verbose                    bool
	maxConns, maxConnsClient                     int
	linger                                       time.Duration
}

func (c *cli) gateway() *cobra.Command {
	var f gatewayFlags
	cmd := &cobra.Command{
		Use:     "gateway",
		GroupID: "run",
		Short:   "Run the load balancer alone, in front of backends that run elsewhere",
		Long: `Run the load balancer alone, in front of backends that run elsewhere. The file says what it does, as under 'banyan up':
routes, and services with 'backends'. Without a file, all requests go to the backends that are named with --backend.

While it runs: 'banyan status' and 'top' show it, 'banyan reload' (or SIGHUP) has it go by the file as it is then,
'banyan gateway why ID' explains a request, 'banyan gateway --take-over' replaces it by a new process without losing a
connection, and 'banyan down' ends it.`,
		Example: `  banyan gateway --listen :8080 --backend 127.0.0.1:9001 --backend 127.0.0.1:9002 --balance p2c-ewma
  banyan gateway -f banyan.yaml
  banyan gateway -f banyan.yaml --backend catalog=10.0.0.7:8080@3
  banyan gateway -f banyan.yaml --record requests.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			load, files, err := c.gatewaySystem(f)
			if err != nil {
				return err
			}
			sys, err := load()
			if err != nil {
				return wrongUse{err}
			}
			dir, err := c.gatewayState()
			if err != nil {
				return err
			}
			if f.detach && f.takeOver {
				return usagef("--take-over and --detach do not go together yet: let the supervisor of services start the new one")
			}
			if f.detach {
				return c.detached(cmd.Context(), dir, f.again())
			}
			return c.serve(cmd.Context(), app.Config{
				System: sys, Files: files, Dir: dir, Log: c.logger(f.verbose), Load: load, GatewayOnly: true, TakeOver: f.takeOver,
				Linger: f.linger,
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "", "`address` to answer requests on, such as :8080")
	flags.StringVar(&f.tls, "tls", "", "`address` to answer requests over TLS on, such as :8443; without --acme by a local authority")
	flags.IntVar(&f.maxConns, "max-connections", 0, "how many `connections` clients may have open at once on an address (default 50000, if as many files may be open)")
	flags.IntVar(&f.maxConnsClient, "max-connections-per-client", 0, "how many `connections` of them one client may have (default half of them)")
	flags.StringArrayVar(&f.acme, "acme", nil, "`domain` that a certificate is obtained for by ACME, whose authority's terms are agreed to by it")
	flags.StringVar(&f.acmeEmail, "acme-email", "", "`address` that the authority is told")
	flags.StringVar(&f.acmeDirectory, "acme-directory", "", "`URL` of the authority, if not Let's Encrypt's")
	flags.StringVar(&f.admin, "admin", "", "`address` of the page with the Prometheus metrics")
	flags.StringArrayVar(&f.backends, "backend", nil, "`[SERVICE=]HOST:PORT[@WEIGHT]` of a backend, in place of those of the file")
	flags.StringVar(&f.balance, "balance", "", "`policy` that picks a backend, without a file: least-request, p2c-ewma, ...")
	flags.StringVar(&f.accessLog, "access-log", "", "`file` that a line is written to for each request, or - for standard output")
	flags.StringVar(&f.logFormat, "access-log-format", "json", "`format` of the lines: json, common or combined")
	flags.StringVar(&f.record, "record", "", "`file` that the requests are recorded in for 'banyan load import', at most 512MiB of the latest, in place of the access log")
	flags.BoolVar(&f.takeOver, "take-over", false, "take the place of the gateway that runs, which finishes what it has")
	flags.StringVar(&f.zone, "zone", "", "`name` of the zone that this gateway is in")
	flags.StringVar(&f.peerListen, "peer-listen", "", "`address` at which this one of several gateways hears what the others spend")
	flags.StringArrayVar(&f.peers, "peer", nil, "`address` at which another gateway of the system hears what this one spends")
	flags.StringVar(&f.peerSecret, "peer-secret", "", "`file` with the secret of the gateways of the system")
	flags.DurationVar(&f.linger, "linger", 10*time.Minute, "how long streams and TCP connections may go on once another gateway has taken over")
	flags.BoolVarP(&f.detach, "detach", "d", false, "return once it serves; it goes on in the background")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log every event")
	cmd.AddCommand(c.gatewayWhy(), c.gatewayDryRun())
	return cmd
}

// recordSize is when a recording is moved to FILE.1.
const recordSize = "256MiB"

// again returns the arguments that start the same gateway in this process's place.
func (f gatewayFlags) again() []string {
	args := []string{"gateway", "--access-log-format", f.logFormat}
	for _, flag := range []struct{ name, value string }{{"listen", f.listen}, {"admin", f.admin}, {"balance", f.balance}, {"access-log", f.accessLog}, {"record", f.record},
		{"zone", f.zone}, {"peer-listen", f.peerListen}, {"peer-secret", f.peerSecret}, {"linger", f.linger.String()},
		{"tls", f.tls}, {"acme-email", f.acmeEmail}, {"acme-directory", f.acmeDirectory}} {
		if flag.value != "" {
			args = append(args, "--"+flag.name, flag.value)
		}
	}
	for _, b := range f.backends {
		args = append(args, "--backend", b)
	}
	for _, domain := range f.acme {
		args = append(args, "--acme", domain)
	}
	for _, p := range f.peers {
		args = append(args, "--peer", p)
	}
	for _, flag := range []struct {
		name  string
		value int
	}{{"max-connections", f.maxConns}, {"max-connections-per-client", f.maxConnsClient}} {
		if flag.value != 0 {
			args = append(args, "--"+flag.name, strconv.Itoa(flag.value))
		}
	}
	if f.verbose {
		args = append(args, "-v")
	}
	return args
}

// gatewayState is the state directory: beside the file, or in this folder where there is none.
func (c *cli) gatewayState() (string, error) {
	if c.state == "" && len(c.files) == 0 && !fileExists(defaultFile) {
		return filepath.Abs(app.StateDir)
	}
	return c.stateDir()
}

// gatewaySystem returns what loads the system that the flags and the file describe.
func (c *cli) gatewaySystem(f gatewayFlags) (load func() (*topology.System, error), files []string, err error) {
	alone := len(c.files) == 0 && !fileExists(defaultFile)
	if alone && len(f.backends) == 0 {
		return nil, nil, usagef("name the backends with --backend HOST:PORT, or a topology with -f FILE")
	}
	if !alone && f.balance != "" {
		return nil, nil, usagef("--balance is for a gateway without a file: the file says it in 'balance'")
	}
	text, err := f.overlay(alone)
	if err != nil {
		return nil, nil, err
	}
	overlay := topology.Source{Name: "flags", Data: []byte(text)}
	if alone {
		return func() (*topology.System, error) { return topology.Parse(overlay) }, nil, nil
	}
	if files, err = c.absolute(); err != nil {
		return nil, nil, err
	}
	return func() (*topology.System, error) { return topology.LoadOver(files, overlay) }, files, nil
}

// overlay writes the flags as a topology.
func (f gatewayFlags) overlay(alone bool) (string, error) {
	var b strings.Builder
	b.WriteString("version: 1\n")
	if alone {
		b.WriteString("system: gateway\nroutes: [{path: /, to: backend}]\n")
	}
	for _, field := range []struct{ key, value string }{{"listen", f.listen}, {"admin", f.admin}, {"zone", f.zone}} {
		if field.value != "" {
			fmt.Fprintf(&b, "%s: %q\n", field.key, field.value)
		}
	}
	if err := f.overlayConnections(&b); err != nil {
		return "", err
	}
	if err := f.overlayTLS(&b); err != nil {
		return "", err
	}
	if f.record != "" {
		if f.accessLog != "" {
			return "", usagef("--record is an access log of its own: give it or --access-log")
		}
		path, err := filepath.Abs(f.record)
		if err != nil {
			return "", fmt.Errorf("finding the recording's folder: %w", err)
		}
		fmt.Fprintf(&b, "access_log: {file: %q, format: json, sample: 100%%, max_size: %s}\n", path, recordSize)
	}
	if f.accessLog != "" {
		path := f.accessLog
		if path != "-" {
			var err error
			if path, err = filepath.Abs(path); err != nil {
				return "", fmt.Errorf("finding the access log's folder: %w", err)
			}
		}
		fmt.Fprintf(&b, "access_log: {file: %q, format: %q}\n", path, f.logFormat)
	}
	if err := f.peerOverlay(&b); err != nil {
		return "", err
	}
	services, order, err := backendFlags(f.backends)
	if err != nil {
		return "", err
	}
	if len(order) > 0 {
		b.WriteString("services:\n")
	}
	for _, name := range order {
		if alone && name != "backend" {
			return "", usagef("--backend %s=...: without a file there is one service, which needs no name", name)
		}
		fmt.Fprintf(&b, "  %q:\n    build: null\n    run: null\n", name)
		if f.balance != "" {
			fmt.Fprintf(&b, "    inbound: {balance: %q}\n", f.balance)
		}
		b.WriteString("    backends:\n" + services[name])
	}
	return b.String(), nil
}

// overlayConnections writes what the flags say of clients' connections.
func (f gatewayFlags) overlayConnections(b *strings.Builder) error {
	if f.maxConns < 0 || f.maxConnsClient < 0 {
		return usagef("--max-connections %d, --max-connections-per-client %d: want a number above 0; without the flag it is the default", f.maxConns, f.maxConnsClient)
	}
	if f.maxConns == 0 && f.maxConnsClient == 0 {
		return nil
	}
	b.WriteString("connections:\n")
	if f.maxConns > 0 {
		fmt.Fprintf(b, "  max: %d\n", f.maxConns)
	}
	if f.maxConnsClient > 0 {
		fmt.Fprintf(b, "  per_client: %d\n", f.maxConnsClient)
	}
	return nil
}

// overlayTLS writes what the flags say of TLS.
func (f gatewayFlags) overlayTLS(b *strings.Builder) error {
	if len(f.acme) == 0 && (f.acmeEmail != "" || f.acmeDirectory != "") {
		return usagef("--acme-email and --acme-directory need the domains: --acme DOMAIN")
	}
	if f.tls == "" && len(f.acme) == 0 {
		return nil
	}
	b.WriteString("tls:\n")
	if f.tls != "" {
		fmt.Fprintf(b, "  listen: %q\n", f.tls)
	}
	if len(f.acme) == 0 {
		return nil
	}
	b.WriteString("  acme:\n    domains:\n")
	for _, domain := range f.acme {
		fmt.Fprintf(b, "    - %q\n", domain)
	}
	for _, field := range []struct{ key, value string }{{"email", f.acmeEmail}, {"directory", f.acmeDirectory}} {
		if field.value != "" {
			fmt.Fprintf(b, "    %s: %q\n", field.key, field.value)
		}
	}
	return nil
}

// peerOverlay writes what the flags say of other gateways.
func (f gatewayFlags) peerOverlay(b *strings.Builder) error {
	if f.peerListen == "" && len(f.peers) == 0 && f.peerSecret == "" {
		return nil
	}
	b.WriteString("gateways:\n")
	if f.peerListen != "" {
		fmt.Fprintf(b, "  listen: %q\n", f.peerListen)
	}
	if f.peerSecret != "" {
		path, err := filepath.Abs(f.peerSecret)
		if err != nil {
			return fmt.Errorf("finding the secret's folder: %w", err)
		}
		fmt.Fprintf(b, "  secret_file: %q\n", path)
	}
	if len(f.peers) > 0 {
		b.WriteString("  peers:\n")
		for _, p := range f.peers {
			fmt.Fprintf(b, "    - %q\n", p)
		}
	}
	return nil
}

// backendFlags returns the backends of each service as items of YAML, and the services in the order of their first.
func backendFlags(flags []string) (services map[string]string, order []string, err error) {
	services = map[string]string{}
	for _, flag := range flags {
		service, address, named := strings.Cut(flag, "=")
		if !named {
			service, address = "backend", flag
		}
		address, weight, weighted := strings.Cut(address, "@")
		if !weighted {
			weight = "1"
		}
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			return nil, nil, usagef("--backend %s: want HOST:PORT", flag)
		}
		if n, err := strconv.Atoi(weight); err != nil || n < 1 {
			return nil, nil, usagef("--backend %s: the weight after @ is no whole number above 0", flag)
		}
		if services[service] == "" {
			order = append(order, service)
		}
		services[service] += fmt.Sprintf("      - {address: %q, weight: %s}\n", address, weight)
	}
	return services, order, nil
}
