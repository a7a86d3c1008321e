package queueing

import (
	"errors"
	"io"
)

func ParseLQN(r io.Reader) (*LQN, []string, error) {
	return nil, nil, errors.New("lqn: text not supported yet")
}
