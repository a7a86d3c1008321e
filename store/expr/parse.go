package expr

import (
	"strconv"
	"strings"
)

type parser struct {
	text      string
	tokens    []token
	at        int
	operators int
	depth     int
	update    bool // which functions there are
}

func start(text string, update bool) (*parser, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errorf("The expression can not be empty;")
	}
	if len(text) > MaxLength {
		return nil, errorf("Expression size has exceeded the maximum allowed size; expression size: %d", len(text))
	}
	tokens, err := scan(text)
	return &parser{text: text, tokens: tokens, update: update}, err
}

// ParseCondition parses a condition, filter or key condition.
func ParseCondition(text string) (*Node, error) {
	p, err := start(text, false)
	if err != nil {
		return nil, err
	}
	n, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.peek().kind != tokEnd {
		return nil, p.unexpected()
	}
	return n, nil
}

// ParseProjection parses a projection.
func ParseProjection(text string) ([]Path, error) {
	p, err := start(text, false)
	if err != nil {
		return nil, err
	}
	paths, err := p.paths()
	if err == nil && p.peek().kind != tokEnd {
		err = p.unexpected()
	}
	return paths, err
}

// ParseUpdate parses an update.
func ParseUpdate(text string) (*Update, error) {
	p, err := start(text, true)
	if err != nil {
		return nil, err
	}
	var u Update
	seen := map[string]bool{}
	for p.peek().kind != tokEnd {
		section := strings.ToUpper(p.peek().text)
		if p.peek().kind != tokWord {
			return nil, p.unexpected()
		}
		switch section {
		case "SET", "REMOVE", "ADD", "DELETE":
		default:
			return nil, p.unexpected()
		}
		p.at++
		if seen[section] {
			return nil, errorf("The \"%s\" section can only be used once in an update expression;", section)
		}
		seen[section] = true
		if err := p.section(section, &u); err != nil {
			return nil, err
		}
	}
	return &u, nil
}

func (p *parser) section(name string, u *Update) (err error) {
	if name == "REMOVE" {
		u.Remove, err = p.paths()
		return err
	}
	for {
		var a Assign
		if a.Path, err = p.path(); err != nil {
			return err
		}
		if err := p.count(); err != nil {
			return err
		}
		switch name {
		case "SET":
			if !p.symbol("=") {
				return p.unexpected()
			}
			if a.Value, err = p.sum(); err != nil {
				return err
			}
			u.Set = append(u.Set, a)
		default:
			t := p.peek()
			if t.kind != tokValue {
				return p.unexpected()
			}
			p.at++
			a.Value = &Node{Op: OpValue, Name: t.text}
			if name == "ADD" {
				u.Add = append(u.Add, a)
			} else {
				u.Delete = append(u.Delete, a)
			}
		}
		if !p.symbol(",") {
			return nil
		}
	}
}

// sum is an operand of SET, or two with + or - between them.
func (p *parser) sum() (*Node, error) {
	if p.symbol("(") {
		if err := p.enter(); err != nil {
			return nil, err
		}
		n, err := p.sum()
		if err != nil {
			return nil, err
		}
		if !p.symbol(")") {
			return nil, p.unexpected()
		}
		p.depth--
		return n, nil
	}
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	op := OpPlus
	if !p.symbol("+") {
		if !p.symbol("-") {
			return left, nil
		}
		op = OpMinus
	}
	if err := p.count(); err != nil {
		return nil, err
	}
	right, err := p.operand()
	if err != nil {
		return nil, err
	}
	return &Node{Op: op, Args: []*Node{left, right}}, nil
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) unexpected() error { return syntaxErrorAt(p.text, p.tokens, p.at) }

func (p *parser) symbol(s string) bool {
	if t := p.peek(); t.kind == tokSymbol && t.text == s {
		p.at++
		return true
	}
	return false
}

func (p *parser) keyword(word string) bool {
	if t := p.peek(); t.kind == tokWord && strings.EqualFold(t.text, word) {
		p.at++
		return true
	}
	return false
}

func (p *parser) count() error {
	if p.operators++; p.operators > MaxOperators {
		return errorf("The expression contains too many operators; maximum number of operators: %d", MaxOperators)
	}
	return nil
}

func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return errorf("The expression is nested too deeply; maximum depth: %d", maxDepth)
	}
	return nil
}

func (p *parser) or() (*Node, error)  { return p.chain("OR", OpOr, p.and) }
func (p *parser) and() (*Node, error) { return p.chain("AND", OpAnd, p.not) }

func (p *parser) chain(word string, op Op, next func() (*Node, error)) (*Node, error) {
	n, err := next()
	if err != nil {
		return nil, err
	}
	var chain *Node
	for p.keyword(word) {
		if err := p.count(); err != nil {
			return nil, err
		}
		right, err := next()
		if err != nil {
			return nil, err
		}
		if chain == nil {
			chain = &Node{Op: op, Args: []*Node{n}}
			n = chain
		}
		chain.Args = append(chain.Args, right)
	}
	return n, nil
}

func (p *parser) not() (*Node, error) {
	if !p.keyword("NOT") {
		return p.test()
	}
	if err := p.count(); err != nil {
		return nil, err
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	n, err := p.not()
	p.depth--
	if err != nil {
		return nil, err
	}
	return &Node{Op: OpNot, Args: []*Node{n}}, nil
}

var comparators = map[string]Op{"=": OpEqual, "<>": OpNotEqual, "<": OpLess, "<=": OpLessEqual, ">": OpGreater, ">=": OpGreaterEqual}

// test is a comparison, BETWEEN, IN, a function, or a condition in parentheses.
func (p *parser) test() (*Node, error) {
	if t := p.peek(); t.kind == tokSymbol && t.text == "(" {
		if n, ok, err := p.parenthesized(); ok || err != nil {
			return n, err
		}
	}
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind == tokSymbol && comparators[t.text] != 0 {
		p.at++
		if err := p.count(); err != nil {
			return nil, err
		}
		right, err := p.operand()
		if err != nil {
			return nil, err
		}
		return &Node{Op: comparators[t.text], Args: []*Node{left, right}}, nil
	}
	switch {
	case p.keyword("BETWEEN"):
		return p.between(left)
	case p.keyword("IN"):
		return p.in(left)
	case left.Op >= OpExists && left.Op <= OpContains:
		return left, nil
	}
	if left.Op == OpSize {
		return nil, errorf("The function is not allowed to be used this way in an expression; function: size")
	}
	return nil, p.unexpected()
}

func (p *parser) between(left *Node) (*Node, error) {
	if err := p.count(); err != nil {
		return nil, err
	}
	low, err := p.operand()
	if err != nil {
		return nil, err
	}
	if !p.keyword("AND") {
		return nil, p.unexpected()
	}
	high, err := p.operand()
	if err != nil {
		return nil, err
	}
	return &Node{Op: OpBetween, Args: []*Node{left, low, high}}, nil
}

func (p *parser) in(left *Node) (*Node, error) {
	if !p.symbol("(") {
		return nil, p.unexpected()
	}
	n := &Node{Op: OpIn, Args: []*Node{left}}
	for {
		if err := p.count(); err != nil {
			return nil, err
		}
		candidate, err := p.operand()
		if err != nil {
			return nil, err
		}
		if n.Args = append(n.Args, candidate); len(n.Args) > 101 {
			return nil, errorf("Too many operands for operator or function; operator or function: IN, maximum number of operands: 100")
		}
		if p.symbol(",") {
			continue
		}
		if !p.symbol(")") {
			return nil, p.unexpected()
		}
		return n, nil
	}
}

// parenthesized tries to read a condition in parentheses. ok is false if it is an operand in parentheses, which is then still to
// be read. Nothing is read twice for longer than it takes to see that: an operand is no condition, at its first token behind it.
func (p *parser) parenthesized() (n *Node, ok bool, err error) {
	at, operators := p.at, p.operators
	if p.operandInParentheses() {
		return nil, false, nil
	}
	p.at, p.operators = at, operators
	p.at++
	if err := p.enter(); err != nil {
		return nil, false, err
	}
	inner := p.at
	if n, err = p.or(); err != nil {
		return nil, false, err
	}
	if !p.symbol(")") {
		return nil, false, p.unexpected()
	}
	p.depth--
	if p.tokens[inner].text == "(" && p.tokens[inner].kind == tokSymbol && p.closes(inner) == p.at-2 {
		return nil, false, errorf("The expression has redundant parentheses;")
	}
	return n, true, nil
}

// operandInParentheses says whether only a path or a value stands in the parentheses that come next.
func (p *parser) operandInParentheses() bool {
	i := p.at
	for p.tokens[i].kind == tokSymbol && p.tokens[i].text == "(" {
		i++
	}
	end := p.closes(i - 1)
	if end < 0 {
		return false
	}
	for ; i < end; i++ {
		switch t := p.tokens[i]; {
		case t.kind == tokSymbol && strings.Contains("[].", t.text):
		case t.kind == tokSymbol, t.kind == tokEnd:
			return false
		case t.kind == tokWord && i+1 < end && (p.tokens[i+1].kind == tokWord || p.tokens[i+1].kind == tokName):
			return false
		}
	}
	return true
}

// closes is where the parenthesis at i is closed, -1 if nowhere.
func (p *parser) closes(i int) int {
	open := 0
	for ; i < len(p.tokens); i++ {
		if p.tokens[i].kind != tokSymbol {
			continue
		}
		switch p.tokens[i].text {
		case "(":
			open++
		case ")":
			if open--; open == 0 {
				return i
			}
		}
	}
	return -1
}

var functions = map[string]struct {
	op       Op
	operands int
	update   bool
}{
	"attribute_exists": {OpExists, 1, false}, "attribute_not_exists": {OpNotExists, 1, false}, "attribute_type": {OpType, 2, false},
	"begins_with": {OpBeginsWith, 2, false}, "contains": {OpContains, 2, false}, "size": {OpSize, 1, false},
	"if_not_exists": {OpIfNotExists, 2, true}, "list_append": {OpListAppend, 2, true},
}

// operand is a path, a value or a function.
func (p *parser) operand() (*Node, error) {
	t := p.peek()
	switch {
	case t.kind == tokValue:
		p.at++
		return &Node{Op: OpValue, Name: t.text}, nil
	case t.kind == tokSymbol && t.text == "(":
		p.at++
		if err := p.enter(); err != nil {
			return nil, err
		}
		n, err := p.operand()
		if err != nil {
			return nil, err
		}
		if !p.symbol(")") {
			return nil, p.unexpected()
		}
		p.depth--
		return n, nil
	case t.kind == tokWord && p.tokens[p.at+1].kind == tokSymbol && p.tokens[p.at+1].text == "(":
		return p.function(t.text)
	}
	path, err := p.path()
	if err != nil {
		return nil, err
	}
	return &Node{Op: OpPath, Path: path}, nil
}

func (p *parser) function(name string) (*Node, error) {
	f, ok := functions[name]
	if !ok {
		return nil, errorf("Invalid function name; function: %s", name)
	}
	if f.update != p.update {
		kind := "a condition"
		if p.update {
			kind = "an update"
		}
		return nil, errorf("The function is not allowed in %s expression; function: %s", kind, name)
	}
	if err := p.count(); err != nil {
		return nil, err
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	p.at += 2
	n := &Node{Op: f.op}
	for {
		arg, err := p.operand()
		if err != nil {
			return nil, err
		}
		if n.Args = append(n.Args, arg); p.symbol(",") {
			continue
		}
		if !p.symbol(")") {
			return nil, p.unexpected()
		}
		break
	}
	p.depth--
	if len(n.Args) != f.operands {
		return nil, errorf("Incorrect number of operands for operator or function; operator or function: %s, number of operands: %d", name, len(n.Args))
	}
	return n, p.checkFunction(n)
}

// checkFunction checks which operands a function may have.
func (p *parser) checkFunction(n *Node) error {
	name := opNames[n.Op]
	switch n.Op {
	case OpExists, OpNotExists, OpIfNotExists:
		if n.Args[0].Op != OpPath {
			return errorf("Operator or function requires a document path; operator or function: %s", name)
		}
	}
	for _, a := range n.Args {
		switch {
		case a.Op == OpPath || a.Op == OpValue:
		case n.Op == OpIfNotExists || n.Op == OpListAppend: // may be nested
		case a.Op == OpSize && (n.Op == OpContains || n.Op == OpBeginsWith):
		default:
			return errorf("The function is not allowed to be used this way in an expression; function: %s", opNames[a.Op])
		}
	}
	return nil
}

func (p *parser) paths() (all []Path, err error) {
	for {
		path, err := p.path()
		if err != nil {
			return nil, err
		}
		if err := p.count(); err != nil {
			return nil, err
		}
		if all = append(all, path); !p.symbol(",") {
			return all, nil
		}
	}
}

func (p *parser) path() (Path, error) {
	var path Path
	for {
		t := p.peek()
		switch {
		case t.kind == tokWord && Reserved(t.text):
			return nil, errorf("Attribute name is a reserved keyword; reserved keyword: %s", t.text)
		case t.kind != tokWord && t.kind != tokName:
			return nil, p.unexpected()
		}
		p.at++
		path = append(path, Step{Name: t.text, Index: -1})
		for p.symbol("[") {
			t := p.peek()
			if t.kind != tokNumber {
				return nil, p.unexpected()
			}
			index, err := strconv.Atoi(t.text)
			if err != nil || index > 1<<31-1 {
				return nil, errorf("List index is not within the allowable range; index: [%s]", t.text)
			}
			p.at++
			if !p.symbol("]") {
				return nil, p.unexpected()
			}
			path = append(path, Step{Index: index})
		}
		if len(path) > maxPath {
			return nil, errorf("The document path has too many nesting elements; nesting levels: %d", len(path))
		}
		if !p.symbol(".") {
			return path, nil
		}
	}
}
