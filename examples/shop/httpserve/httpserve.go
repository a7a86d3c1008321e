// Package httpserve is the plumbing that the five programs of the shop have in
// common: they read their surroundings from the environment, serve HTTP until
// they are told to stop, speak strict JSON and call each other.
//
// It promises that a program that gets SIGTERM stops accepting, finishes the
// requests it has, then stops its background work and returns; that every
// request is bounded in size and time; and that the trace of an incoming
// request goes out with each call made on its behalf. It never retries: that
// is for whoever stands between the services.
//
// Serve owns the goroutines: the server's, and the one of Service.Run.
package httpserve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Env is what the program finds around it.
type Env struct {
	Service string // BANYAN_SERVICE, or the program's own name
	Replica string // BANYAN_REPLICA, or the service's name
	Data    string // BANYAN_DATA: a directory for the service, shared by its replicas
	Port    int    // PORT; 0 takes a free one
	Log     *slog.Logger

	getenv func(string) string
}

// ReadEnv reads the environment of a service; port is used when PORT is not set.
func ReadEnv(service string, port int, getenv func(string) string) (Env, error) {
	env := Env{Service: service, Port: port, getenv: getenv}
	if v := getenv("BANYAN_SERVICE"); v != "" {
		env.Service = v
	}
	env.Replica = env.Service
	if v := getenv("BANYAN_REPLICA"); v != "" {
		env.Replica = v
	}
	env.Data = filepath.Join(os.TempDir(), "shop-data", env.Service)
	if v := getenv("BANYAN_DATA"); v != "" {
		env.Data = v
	}
	if v := getenv("PORT"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > 65535 {
			return Env{}, fmt.Errorf("PORT=%q: want a number from 0 to 65535", v)
		}
		env.Port = n
	}
	env.Log = slog.New(slog.NewJSONHandler(os.Stdout, nil)).With("service", env.Service, "replica", env.Replica)
	return env, nil
}

// Getenv is a variable of the environment, empty if it is not set.
func (e Env) Getenv(name string) string { return e.getenv(name) }

// Optional is where a service is found that there need not be: <SERVICE>_URL,
// or nothing.
func (e Env) Optional(service string) (string, error) {
	if e.getenv(strings.ToUpper(strings.ReplaceAll(service, "-", "_"))+"_URL") == "" {
		return "", nil
	}
	return e.URL(service, 0)
}

// URL is where another service is found: <SERVICE>_URL, or the port that it
// takes by itself on this machine.
func (e Env) URL(service string, port int) (string, error) {
	name := strings.ToUpper(strings.ReplaceAll(service, "-", "_")) + "_URL"
	v := e.getenv(name)
	if v == "" {
		return "http://127.0.0.1:" + strconv.Itoa(port), nil
	}
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("%s=%q: want a URL such as http://127.0.0.1:%d", name, v, port)
	}
	return strings.TrimRight(v, "/"), nil
}

// Duration reads a setting such as 20ms; fallback when it is not set.
func (e Env) Duration(name string, fallback time.Duration) (time.Duration, error) {
	v := e.getenv(name)
	if v == "" {
		return fallback, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 || d > time.Minute {
		return 0, fmt.Errorf("%s=%q: want a duration from 0s to 1m, such as 20ms", name, v)
	}
	return d, nil
}

// Service is a program to serve.
type Service struct {
	Handler http.Handler
	// Ready says why requests cannot be served now, or nil. Nil: always ready.
	Ready func(context.Context) error
	// Run is background work; it returns when its context ends, which is
	// after the last request. An error of it ends the program. May be nil.
	Run func(context.Context) error
}

const (
	// How long a program waits for the requests it has when it is told to stop:
	// less than the 10 s after which a supervisor commonly kills it.
	drainTime = 9 * time.Second
	// How long a connection that never sent anything may hold that up. Clients
	// open such connections in reserve, and net/http waits 5 s for them.
	unusedTime = 200 * time.Millisecond
)

// Main reads the environment, builds the service and serves it until SIGTERM
// or SIGINT. It returns the exit code and prints one line if that is not 0.
func Main(service string, port int, build func(Env) (Service, error)) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := func() error {
		env, err := ReadEnv(service, port, os.Getenv)
		if err != nil {
			return err
		}
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(env.Port)))
		if err != nil {
			return err
		}
		s, err := build(env)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		return Serve(ctx, env, listener, s)
	}()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", service, err)
		return 1
	}
	return 0
}

// Serve serves on the listener, which it closes, until ctx ends; then it
// drains. It returns nil after a clean stop.
func Serve(ctx context.Context, env Env, listener net.Listener, s Service) error {
	unused := unusedConns{conns: map[net.Conn]bool{}}
	server := &http.Server{
		Handler:           Handler(s),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		// Longer than a proxy in front keeps its idle connections (90 s is
		// common), so that it is the one who closes them.
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 32 << 10,
		ConnState:      unused.note,
		ErrorLog:       slog.NewLogLogger(env.Log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 2)
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		if s.Run == nil {
			return
		}
		if err := s.Run(background); err != nil {
			failed <- err
		}
	}()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serving: %w", err)
		}
	}()
	env.Log.Info("listening", "address", listener.Addr().String())

	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	closing := time.AfterFunc(unusedTime, unused.close)
	defer closing.Stop()
	if e := server.Shutdown(drain); e != nil {
		err = errors.Join(err, fmt.Errorf("requests still unfinished %v after the signal to stop: %w", drainTime, e), server.Close())
	}
	<-served
	stopBackground()
	<-finished
	select {
	case e := <-failed:
		err = errors.Join(err, e)
	default:
	}
	env.Log.Info("stopped")
	return err
}

// unusedConns is the connections on which nothing has arrived yet.
type unusedConns struct {
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func (u *unusedConns) note(c net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if state == http.StateNew {
		u.conns[c] = true
	} else {
		delete(u.conns, c)
	}
}

func (u *unusedConns) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for c := range u.conns {
		c.Close()
	}
}

// Handler adds GET /livez and GET /healthz to the service's handler, passes on
// the trace and bounds every body.
func Handler(s Service) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) {
		WriteJSON(w, http.StatusOK, map[string]string{"status": "alive"})
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if s.Ready != nil {
			if err := s.Ready(r.Context()); err != nil {
				WriteError(w, Errorf(http.StatusServiceUnavailable, "not_ready", "not ready: %v", err))
				return
			}
		}
		WriteJSON(w, http.StatusOK, map[string]string{"status": "ready"})
	})
	mux.Handle("/", s.Handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		mux.ServeHTTP(w, r.WithContext(withTrace(r.Context(), r.Header)))
	})
}
