package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/banyanhq/banyan/topology"
)

const (
	maxDescriptors  = 64 << 20
	maxDescriptor   = 2000 // files of one method
	reflectionTime  = 10 * time.Second
	reflectionV1    = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	reflectionAlpha = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
)

// method finds the descriptor of a method: in the step's file of descriptors, or by asking the server.
func (c *compiler) method(to *target, g *topology.GRPCCall, service, method string) (protoreflect.MethodDescriptor, error) {
	set := &descriptorpb.FileDescriptorSet{}
	if g.Descriptors != "" {
		f, err := c.targets.cfg.files().open(g.Descriptors)
		if err != nil {
			return nil, fmt.Errorf("descriptors: %w", err)
		}
		defer f.Close()
		raw, err := io.ReadAll(io.LimitReader(f, maxDescriptors+1))
		if err != nil || len(raw) > maxDescriptors {
			return nil, fmt.Errorf("descriptors %s: longer than %d MiB, or %w", g.Descriptors, maxDescriptors>>20, err)
		}
		if err := proto.Unmarshal(raw, set); err != nil {
			return nil, fmt.Errorf("descriptors %s: %w", g.Descriptors, err)
		}
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), reflectionTime)
		defer cancel()
		var err error
		if set, err = reflected(ctx, c.targets.cfg, to.address, service); err != nil {
			return nil, fmt.Errorf("asking the server by reflection (or give a file of descriptors): %w", err)
		}
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("descriptors: %w", err)
	}
	d, err := files.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", service, err)
	}
	s, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is not a service", service)
	}
	if m := s.Methods().ByName(protoreflect.Name(method)); m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("the service has no method %s", method)
}

// reflected asks a server for the files that declare a symbol, and those that they import, over a connection of its own.
func reflected(ctx context.Context, cfg *Config, address, symbol string) (*descriptorpb.FileDescriptorSet, error) {
	t, err := newTarget(cfg, address)
	if err != nil {
		return nil, err
	}
	defer t.close()
	set, err := t.reflect(ctx, reflectionV1, symbol)
	var no *failed
	if errors.As(err, &no) && no.kind == "grpc unimplemented" {
		set, err = t.reflect(ctx, reflectionAlpha, symbol)
	}
	return set, err
}

// Fields of the messages of grpc.reflection.v1.
const (
	fieldFileByName   = 3
	fieldFileBySymbol = 4
	fieldFiles        = 4 // of the answer
	fieldError        = 7 // of the answer
)

func (t *target) reflect(ctx context.Context, path, symbol string) (*descriptorpb.FileDescriptorSet, error) {
	set, have := &descriptorpb.FileDescriptorSet{}, map[string]bool{}
	ask := func(field protowire.Number, text string) error {
		raws, err := t.question(ctx, path, protowire.AppendString(protowire.AppendTag(nil, field, protowire.BytesType), text))
		if err != nil {
			return err
		}
		for _, raw := range raws {
			f := &descriptorpb.FileDescriptorProto{}
			if err := proto.Unmarshal(raw, f); err != nil {
				return malformed("a descriptor: %v", err)
			}
			if !have[f.GetName()] {
				have[f.GetName()], set.File = true, append(set.File, f)
			}
		}
		return nil
	}
	if err := ask(fieldFileBySymbol, symbol); err != nil {
		return nil, err
	}
	for i := 0; i < len(set.File); i++ {
		for _, name := range set.File[i].Dependency {
			if have[name] {
				continue
			}
			if len(set.File) > maxDescriptor {
				return nil, fmt.Errorf("more than %d files", maxDescriptor)
			}
			if err := ask(fieldFileByName, name); err != nil {
				return nil, err
			}
			if !have[name] {
				return nil, malformed("the server does not have %.80q", name)
			}
		}
	}
	return set, nil
}

// question asks one thing by reflection and returns the files that are answered.
func (t *target) question(ctx context.Context, path string, message []byte) ([][]byte, error) {
	c := &grpcCaller{target: t, link: t.links.next()}
	cc, _, err := c.link.get(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := cc.RoundTrip(c.request(ctx, path, nil, appendMessage(nil, message), reflectionTime))
	if err != nil {
		return nil, http2Error(ctx, err)
	}
	defer resp.Body.Close()
	x := &exchange{}
	raw, err := readMessage(x, resp.Body, maxDescriptors)
	if errors.Is(err, io.EOF) {
		if err = grpcStatus(resp); err == nil {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		return nil, err
	}
	return reflectionAnswer(raw)
}

// reflectionAnswer takes the files out of a ServerReflectionResponse.
func reflectionAnswer(raw []byte) (files [][]byte, err error) {
	err = eachField(raw, func(field protowire.Number, value []byte) error {
		switch field {
		case fieldFiles:
			return eachField(value, func(f protowire.Number, file []byte) error {
				if f == 1 {
					files = append(files, bytes.Clone(file))
				}
				return nil
			})
		case fieldError:
			return eachField(value, func(f protowire.Number, text []byte) error {
				if f == 2 {
					return fmt.Errorf("the server: %.200s", text)
				}
				return nil
			})
		}
		return nil
	})
	return files, err
}

// eachField calls do for each field of bytes in a message.
func eachField(raw []byte, do func(protowire.Number, []byte) error) error {
	for len(raw) > 0 {
		field, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return malformed("protobuf: %v", protowire.ParseError(n))
		}
		raw = raw[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(field, kind, raw); n < 0 {
				return malformed("protobuf: %v", protowire.ParseError(n))
			}
			raw = raw[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(raw)
		if n < 0 {
			return malformed("protobuf: %v", protowire.ParseError(n))
		}
		if err := do(field, value); err != nil {
			return err
		}
		raw = raw[n:]
	}
	return nil
}
