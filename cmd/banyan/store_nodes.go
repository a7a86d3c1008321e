package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/banyanhq/banyan/store/cluster"
	"github.com/banyanhq/banyan/transport"
)

// clusterFlags say where the nodes of a cluster are, and how one belongs to it.
type clusterFlags struct {
	peers                                  []string
	secretFile                             string
	authority, certificate, certificateKey string
}

func (f *clusterFlags) add(flags *pflag.FlagSet, peers string) {
	flags.StringArrayVar(&f.peers, "peer", nil, peers)
	flags.StringVar(&f.secretFile, "secret-file", "", "`file` whose first line the nodes of the cluster know each other by, 16 bytes at least")
	flags.StringVar(&f.authority, "tls-ca", "", "`file` with the cluster's certificate authority: nodes speak TLS to each other ('banyan store certs' makes all three)")
	flags.StringVar(&f.certificate, "tls-cert", "", "`file` with this node's certificate")
	flags.StringVar(&f.certificateKey, "tls-key", "", "`file` with the key of the certificate")
}

// numbered are the addresses of the nodes by their numbers, this node's own too.
func (f *clusterFlags) numbered(node uint64) (map[uint64]string, error) {
	peers := map[uint64]string{}
	for _, peer := range f.peers {
		number, address, ok := strings.Cut(peer, "=")
		n, err := strconv.ParseUint(number, 10, 32)
		if _, _, e := net.SplitHostPort(address); !ok || err != nil || n == 0 || e != nil {
			return nil, usagef("--peer %s: expected NUMBER=HOST:PORT, such as 1=10.0.0.1:7000", peer)
		}
		if peers[n] != "" {
			return nil, usagef("--peer %s: node %d is there twice", peer, n)
		}
		peers[n] = address
	}
	if peers[node] == "" {
		return nil, usagef("--node %d: expected one of those that --peer names", node)
	}
	return peers, nil
}

// caller is what the flags say of the secret and of TLS.
func (f *clusterFlags) caller() (c transport.Caller, err error) {
	if given := f.authority != "" || f.certificate != "" || f.certificateKey != ""; given {
		if f.authority == "" || f.certificate == "" || f.certificateKey == "" {
			return c, usagef("--tls-ca, --tls-cert and --tls-key belong together")
		}
		if c.TLS, err = transport.Certificates(f.authority, f.certificate, f.certificateKey); err != nil {
			return c, err
		}
	}
	if f.secretFile == "" {
		if c.TLS == nil {
			return c, usagef("--secret-file is missing: nodes of a cluster know each other by a secret, or by certificates (--tls-ca)")
		}
		return c, nil
	}
	secret, err := firstLine(f.secretFile, "secret")
	if err != nil {
		return c, err
	}
	if c.Secret = []byte(secret); len(c.Secret) < 16 {
		return c, usagef("--secret-file %s: its first line has %d bytes, expected 16 at least", f.secretFile, len(c.Secret))
	}
	return c, nil
}

// client is for a cluster that runs.
func (f *clusterFlags) client() (cluster.Client, error) {
	caller, err := f.caller()
	if err != nil {
		return cluster.Client{}, err
	}
	c := cluster.Client{Caller: caller}
	for _, peer := range f.peers {
		address := peer
		if _, after, ok := strings.Cut(peer, "="); ok {
			address = after
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return c, usagef("--peer %s: expected HOST:PORT or NUMBER=HOST:PORT, such as 10.0.0.1:7000", peer)
		}
		c.Addresses = append(c.Addresses, address)
	}
	if len(c.Addresses) == 0 {
		return c, usagef("--peer is missing: the address of one node of the cluster, or of several")
	}
	return c, nil
}

const anyPeer = "`HOST:PORT` of a node, as the other nodes reach it; several: the first that answers is asked"

func (c *cli) storeNodes() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "Show the nodes of a cluster of tables: state, zone, roles, lag, bytes",
		Long: `Show the nodes of a cluster of tables. LEADS is of how many groups of rows a node orders the writes, of how many it has a replica
of; LAG how many commands it has yet to carry out. Exit code 1 if a node is down or has a problem.`,
		Example: "  banyan store nodes --peer 10.0.0.1:7000 --secret-file secret",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			nodes, err := client.Nodes(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				err = writeJSON(c.out, nodes)
			} else {
				c.printNodes(nodes)
			}
			for _, n := range nodes {
				if err == nil && (n.State == "down" || n.Problem != "") {
					err = errNo
				}
			}
			return err
		},
	}
	f.add(cmd.Flags(), anyPeer)
	return cmd
}

func (c *cli) printNodes(nodes []cluster.NodeStatus) {
	t := table{head: []string{"NODE", "ADDRESS", "ZONE", "STATE", "LEADS", "LAG", "BYTES"}, left: 4}
	for _, n := range nodes {
		zone, leads, lag, bytes := "-", "-", "-", "-"
		if n.Zone != "" {
			zone = n.Zone
		}
		if n.State != "down" {
			leads, lag, bytes = fmt.Sprintf("%d of %d", n.Leads, n.Groups), fmt.Sprint(n.Lag), size(n.Bytes)
		}
		t.row(fmt.Sprint(n.Node), n.Address, zone, n.State, leads, lag, bytes)
	}
	t.write(c.out)
	for _, n := range nodes {
		if n.Problem != "" {
			fmt.Fprintf(c.out, "node %d: %s\n", n.Node, n.Problem)
		}
	}
}

func (c *cli) storeDrain() *cobra.Command {
	cmd := c.storeLeave(cluster.Client.Drain)
	cmd.Use, cmd.Short = "drain NUMBER", "Have a node that is up hand over its replicas and leave the cluster"
	cmd.Long = `Have a node hand over what it leads and give up its replicas; then it leaves the cluster, and its process ends. Refused if the other
nodes would not be a majority, or not one that is up. Returns when the node has left. It can join again with an empty folder.`
	return cmd
}

func (c *cli) storeRemove() *cobra.Command {
	cmd := c.storeLeave(cluster.Client.Remove)
	cmd.Use, cmd.Short = "remove NUMBER", "Take a node that is down out of the cluster for good"
	cmd.Long = `Take a node that is down, and will not come back, out of the cluster. Refused if the node is up (drain it), and if there would be no
majority. A node that comes back with an empty disk need not be removed: it takes its old place by itself.`
	return cmd
}

func (c *cli) storeLeave(leave func(cluster.Client, context.Context, uint64) error) *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := strconv.ParseUint(args[0], 10, 32)
			if err != nil || number == 0 {
				return usagef("%q: expected the number of a node", args[0])
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			if err := leave(client, cmd.Context(), number); err != nil {
				return err
			}
			return c.untilGone(cmd.Context(), client, number)
		},
	}
	f.add(cmd.Flags(), anyPeer)
	return cmd
}

// untilGone waits until a node is not part of the cluster any more.
func (c *cli) untilGone(ctx context.Context, client cluster.Client, number uint64) error {
	line := c.progress()
	defer line.end()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for failures := 0; failures < 20; {
		nodes, err := client.Nodes(ctx)
		there, others := false, 0
		for _, n := range nodes {
			if n.Node == number {
				there = true
				if line.w != nil {
					line.print(fmt.Sprintf("node %d: %s, %d replicas left", number, n.State, n.Groups))
				}
			} else if n.State != "down" {
				others++
			}
		}
		switch {
		case err != nil:
			failures++ // the node that was asked may be the one that leaves
		case !there:
			line.end()
			fmt.Fprintf(c.out, "node %d has left the cluster, which has %s now\n", number, plural(others, "node"))
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return errors.New("no node says how far it is: look at 'banyan store nodes'")
}

// certificatesValid is for how long what 'store certs' makes is good.
const certificatesValid = 5 * 365 * 24 * time.Hour

func (c *cli) storeCerts() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "certs NAME...",
		Short: "Make a certificate authority and a certificate for each node, for TLS between nodes",
		Long: `Make ca.pem and ca.key, if they are not there, and for each name NAME.pem and NAME.key, good for five years. Each node is given
ca.pem and its own two files (--tls-ca, --tls-cert, --tls-key); ca.key stays where nobody but you reads it. Whoever has a certificate
of this authority belongs to the cluster. Files that are there are not written over.`,
		Example: "  banyan store certs --dir certs node1 node2 node3 operator",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, names []string) error {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			return c.makeCertificates(dir, names)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "certs", "`folder` for the files")
	return cmd
}

func (c *cli) makeCertificates(dir string, names []string) error {
	caFile, caKey := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	authority, err := os.ReadFile(caFile)
	var key []byte
	switch {
	case err == nil:
		if key, err = os.ReadFile(caKey); err != nil {
			return fmt.Errorf("the authority is here, but not its key: %w", err)
		}
	case errors.Is(err, os.ErrNotExist):
		if authority, key, err = transport.Authority(certificatesValid); err != nil {
			return err
		}
		if err := errors.Join(writeNew(caFile, authority, 0o644), writeNew(caKey, key, 0o600)); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "%s, %s: a new authority\n", caFile, caKey)
	default:
		return err
	}
	for _, name := range names {
		if name == "ca" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
			return usagef("%q can't be the name of a certificate", name)
		}
		certificate, private, err := transport.Issue(authority, key, name, certificatesValid)
		if err != nil {
			return err
		}
		at := filepath.Join(dir, name)
		if err := errors.Join(writeNew(at+".pem", certificate, 0o644), writeNew(at+".key", private, 0o600)); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "%s.pem, %s.key\n", at, at)
	}
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(path string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// size prints bytes with three significant digits.
func size(bytes uint64) string {
	v, unit := float64(bytes), 0
	for ; v >= 1024 && unit < 4; unit++ {
		v /= 1024
	}
	return digits(v) + [...]string{"B", "KiB", "MiB", "GiB", "TiB"}[unit]
}
