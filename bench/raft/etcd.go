package main

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

// freePort asks the system for a port. etcd has to be told its ports beforehand.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func etcd(o options) error {
	binary, err := exec.LookPath("etcd")
	if err != nil {
		fmt.Println("etcd     not installed (apt-get install etcd-server)")
		return nil
	}
	var client, peer, members []string
	for i := range 3 {
		c, err1 := freePort()
		p, err2 := freePort()
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		client, peer = append(client, c), append(peer, p)
		members = append(members, fmt.Sprintf("n%d=http://%s", i, p))
	}
	ctx, cancel := context.WithCancel(context.Background())
	var processes []*exec.Cmd
	defer func() {
		cancel()
		for _, p := range processes {
			_ = p.Wait() // it was killed
		}
	}()
	for i := range 3 {
		p := exec.CommandContext(ctx, binary, "--name", fmt.Sprintf("n%d", i), "--data-dir", filepath.Join(o.dir, fmt.Sprintf("etcd%d", i)),
			"--listen-client-urls", "http://"+client[i], "--advertise-client-urls", "http://"+client[i],
			"--listen-peer-urls", "http://"+peer[i], "--initial-advertise-peer-urls", "http://"+peer[i],
			"--initial-cluster", strings.Join(members, ","), "--initial-cluster-state", "new")
		p.Env = append(os.Environ(), "ETCD_UNSUPPORTED_ARCH=")
		if err := p.Start(); err != nil {
			return err
		}
		processes = append(processes, p)
	}
	var conns []*grpc.ClientConn
	for _, address := range client {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	put := func(ctx context.Context, conn *grpc.ClientConn, key, value []byte) error {
		request, reply := putRequest(key, value), []byte(nil)
		return conn.Invoke(ctx, "/etcdserverpb.KV/Put", &request, &reply, grpc.ForceCodec(rawCodec{}))
	}
	wait, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	for _, conn := range conns {
		for {
			err := put(wait, conn, []byte("ready"), []byte("?"))
			if err == nil {
				break
			}
			if wait.Err() != nil {
				return err
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
	value := make([]byte, o.size)
	cpu := func() used {
		u := used{client: self()}
		for _, p := range processes {
			c, err := observe.ReadProcess(p.Process.Pid)
			if err != nil {
				fmt.Fprintln(os.Stderr, "bench/raft:", err) // the figure is too low
			}
			u.servers += c.CPU
		}
		return u
	}
	for _, writers := range o.writers {
		before := cpu()
		out, err := load(writers, o.time, func(ctx context.Context, w, i int) error {
			return put(ctx, conns[w%3], benchKey(uint64(w)<<32|uint64(i)), value)
		})
		if err != nil {
			return err
		}
		report("etcd", writers, o.time, out, cpu().since(before), "")
	}
	return nil
}
