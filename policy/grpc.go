package policy

// OutcomeOfGRPC tells what the status of a call of gRPC says about its backend. As with HTTP, errors of the server count
// against it; those of the caller, and that it does not do such a thing at all (UNIMPLEMENTED), do not. The codes are
// those of gRPC's 'Status codes and their use': UNKNOWN 2, DEADLINE_EXCEEDED 4, INTERNAL 13, UNAVAILABLE 14, DATA_LOSS 15.
// A call that was cancelled (1) says nothing.
func OutcomeOfGRPC(code int) Outcome {
	switch code {
	case 1:
		return Neutral
	case 2, 4, 13, 14, 15:
		return Failure
	}
	return Success
}
