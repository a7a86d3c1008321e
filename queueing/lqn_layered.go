package queueing

import "errors"

func (p *lqnProgram) layered() (*LQNSolution, error) {
	return nil, errors.New("lqn: the layered method is not supported yet")
}
