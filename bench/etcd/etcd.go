// Package etcd runs three nodes of Debian's etcd (etcd-server) for benchmarks that hold Banyan beside it.
package etcd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/banyanhq/banyan/observe"
)

// ErrNotInstalled is returned where there is no etcd on this machine.
var ErrNotInstalled = errors.New("not installed (apt-get install etcd-server)")

// Cluster is three nodes on loopback, with a connection to each.
type Cluster struct {
	processes []*exec.Cmd
	conns     []*grpc.ClientConn
}

// Start starts nodes with their data in dir, and waits until each takes writes.
func Start(ctx context.Context, dir string) (c *Cluster, err error) {
	binary, err := exec.LookPath("etcd")
	if err != nil {
		return nil, ErrNotInstalled
	}
	var client, peer, members []string
	for i := range 3 {
		for _, list := range []*[]string{&client, &peer} {
			address, err := freeAddress()
			if err != nil {
				return nil, err
			}
			*list = append(*list, address)
		}
		members = append(members, fmt.Sprintf("n%d=http://%s", i, peer[i]))
	}
	c = &Cluster{}
	if err = c.start(binary, dir, client, peer, strings.Join(members, ",")); err == nil {
		err = c.ready(ctx)
	}
	if err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(binary, dir string, client, peer []string, members string) error {
	for i := range client {
		p := exec.Command(binary, "--name", fmt.Sprintf("n%d", i), "--data-dir", filepath.Join(dir, fmt.Sprintf("etcd%d", i)),
			"--listen-client-urls", "http://"+client[i], "--advertise-client-urls", "http://"+client[i],
			"--listen-peer-urls", "http://"+peer[i], "--initial-advertise-peer-urls", "http://"+peer[i],
			"--initial-cluster", members, "--initial-cluster-state", "new")
		p.Env = append(os.Environ(), "ETCD_UNSUPPORTED_ARCH=")
		if err := p.Start(); err != nil {
			return err
		}
		c.processes = append(c.processes, p)
		conn, err := grpc.NewClient(client[i], grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		c.conns = append(c.conns, conn)
	}
	return nil
}

// freeAddress asks the system for a port. etcd has to be told its ports beforehand.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (c *Cluster) ready(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	for i := range c.conns {
		for {
			err := c.Put(ctx, i, []byte("ready"), []byte("?"))
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return err
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
	return nil
}

// Put writes by way of one of the nodes, counted round.
func (c *Cluster) Put(ctx context.Context, at int, key, value []byte) error {
	request, reply := putRequest(key, value), []byte(nil)
	return c.conns[at%len(c.conns)].Invoke(ctx, "/etcdserverpb.KV/Put", &request, &reply, grpc.ForceCodec(rawCodec{}))
}

// CPU is what the nodes have used.
func (c *Cluster) CPU() (total time.Duration, err error) {
	for _, p := range c.processes {
		u, e := observe.ReadProcess(p.Process.Pid)
		total, err = total+u.CPU, errors.Join(err, e)
	}
	return total, err
}

// Stop ends the nodes at once.
func (c *Cluster) Stop() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	for _, p := range c.processes {
		_ = p.Process.Kill()
		_ = p.Wait() // it was killed
	}
}

// rawCodec passes messages on as they are: a PutRequest is two fields, which is not worth a generated package.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (rawCodec) Name() string { return "proto" }

func putRequest(key, value []byte) []byte {
	b := append([]byte{1<<3 | 2}, binary.AppendUvarint(nil, uint64(len(key)))...)
	b = append(append(b, key...), 2<<3|2)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}
