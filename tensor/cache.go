package tensor

import "container/list"

// Cache keeps compiled functions, up to a limit on the memory that they take for themselves (variables do not count).
// Beyond the limit, the function that has not been used for the longest time is closed. A program has one batch size:
// the cache holds one function per (name, rows).
type Cache struct {
	ex    *Executor
	limit int
	bytes int
	order *list.List // of *cached, most recently used first
	byKey map[cacheKey]*list.Element
}

type cacheKey struct {
	name string
	rows int
}

type cached struct {
	key cacheKey
	f   *Function
}

// NewCache makes an empty cache. A function larger than the limit is kept until the next one is asked for.
func NewCache(ex *Executor, limitBytes int) *Cache {
	return &Cache{ex: ex, limit: limitBytes, order: list.New(), byKey: map[cacheKey]*list.Element{}}
}

// Get returns the function of a name and number of rows, compiling it where it is not there. It is valid until
// the next Get.
func (c *Cache) Get(name string, rows int, build func() []Update) (*Function, error) {
	key := cacheKey{name, rows}
	if e, ok := c.byKey[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*cached).f, nil
	}
	f, err := c.ex.Compile(name, build)
	if err != nil {
		return nil, err
	}
	c.byKey[key] = c.order.PushFront(&cached{key, f})
	c.bytes += size(f)
	for c.bytes > c.limit && c.order.Len() > 1 {
		if err := c.drop(c.order.Back()); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func size(f *Function) int { return f.memory.Arena + f.memory.Constants }

func (c *Cache) drop(e *list.Element) error {
	old := c.order.Remove(e).(*cached)
	delete(c.byKey, old.key)
	c.bytes -= size(old.f)
	return old.f.Close()
}

// Len is the number of functions held, Bytes their memory.
func (c *Cache) Len() int   { return c.order.Len() }
func (c *Cache) Bytes() int { return c.bytes }

// Close frees every function.
func (c *Cache) Close() error {
	var first error
	for c.order.Len() > 0 {
		if err := c.drop(c.order.Back()); first == nil {
			first = err
		}
	}
	return first
}
