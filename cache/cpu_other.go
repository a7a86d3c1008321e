//go:build !unix

package cache

import "strings"

func (s *Server) infoCPU(*strings.Builder) {}
