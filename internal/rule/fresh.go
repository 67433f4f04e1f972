package rule

// Fresh is a copy of e that has covered nothing yet, for a judging whose outcome is thrown away.
func (e *Exceptions) Fresh() *Exceptions {
	if e == nil {
		return nil
	}
	out := &Exceptions{}
	for _, x := range e.list {
		out.list = append(out.list, &exception{Exception: x.Exception, expired: x.expired, rules: x.rules, where: x.where})
	}
	return out
}
