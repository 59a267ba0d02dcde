;; The older form of exceptions, of which the suite has no scripts: `try`, `catch`, `catch_all`, `delegate`, `rethrow`.

(module
  (tag $a)
  (tag $b (param i32))
  (tag $c (param i64 f32))

  (func $throw (param i32)
    (if (i32.eq (local.get 0) (i32.const 1)) (then (throw $a)))
    (if (i32.eq (local.get 0) (i32.const 2)) (then (throw $b (i32.const 20))))
    (if (i32.eq (local.get 0) (i32.const 3)) (then (throw $c (i64.const 30) (f32.const 0.5))))
    (if (i32.eq (local.get 0) (i32.const 4)) (then (unreachable))))

  ;; Without handlers it is a block.
  (func (export "empty") (param i32) (result i32)
    try (result i32)
      local.get 0
    end)

  (func (export "each") (param i32) (result i32)
    try (result i32)
      local.get 0
      call $throw
      i32.const 0
    catch $a
      i32.const 1
    catch $b
      i32.const 1
      i32.add
    catch $c
      drop
      i32.wrap_i64
      i32.const 1
      i32.add
    end)

  (func (export "all") (param i32) (result i32)
    i32.const 100
    try (result i32)
      local.get 0
      call $throw
      i32.const 0
    catch $b
    catch_all
      i32.const 5
    end
    i32.add)

  ;; What does not match goes further out.
  (func (export "outwards") (param i32) (result i32)
    try (result i32)
      try (result i32)
        local.get 0
        call $throw
        i32.const 0
      catch $a
        i32.const 1
      end
      i32.const 10
      i32.add
    catch $b
      i32.const 100
      i32.add
    catch_all
      i32.const 9
    end)

  ;; A handler does not handle what itself throws, nor what another one of the same `try` does.
  (func (export "in-handler") (param i32) (result i32)
    try (result i32)
      try (result i32)
        throw $a
      catch $a
        local.get 0
        call $throw
        i32.const 1
      catch_all
        i32.const 2
      end
    catch_all
      i32.const 3
    end)

  (func (export "rethrow-inner") (param i32) (result i32)
    try (result i32)
      try (result i32)
        local.get 0
        call $throw
        i32.const 0
      catch_all
        rethrow 0
      end
    catch $b
    catch_all
      i32.const 7
    end)

  ;; The exception of the outer handler is thrown inside the inner one.
  (func (export "rethrow-outer") (param i32) (result i32)
    try (result i32)
      try (result i32)
        i32.const 2
        call $throw
        i32.const 0
      catch $b
        drop
        try (result i32)
          local.get 0
          call $throw
          i32.const 50
        catch_all
          rethrow 1
        end
      end
    catch $b
      i32.const 1
      i32.add
    catch_all
      i32.const 8
    end)

  (func (export "rethrow-in-loop") (param i32) (result i32) (local i32)
    loop
      try
        try
          i32.const 2
          call $throw
        catch $b
          local.get 1
          i32.add
          local.set 1
          local.get 0
          i32.const 1
          i32.and
          br_if 0
          rethrow 0
        end
      catch_all
        local.get 1
        i32.const 1
        i32.add
        local.set 1
      end
      local.get 0
      i32.const 1
      i32.sub
      local.tee 0
      br_if 0
    end
    local.get 1)

  (func (export "delegate-to-try") (param i32) (result i32)
    try $outer (result i32)
      try (result i32)
        try
          local.get 0
          call $throw
        delegate $outer
        i32.const 1
      catch_all
        i32.const 2
      end
    catch $b
    catch_all
      i32.const 3
    end)

  ;; A block around a handler stands for what is around that.
  (func (export "delegate-to-block") (param i32) (result i32)
    try $outer (result i32)
      block $b
        try
          try
            local.get 0
            call $throw
          delegate $b
        catch_all
          i32.const 2
          return
        end
      end
      i32.const 1
    catch_all
      i32.const 3
    end)

  (func $delegates-to-caller (param i32)
    try
      try
        local.get 0
        call $throw
      delegate 1
    catch_all
    end)
  (func (export "delegate-to-caller") (param i32) (result i32)
    try (result i32)
      local.get 0
      call $delegates-to-caller
      i32.const 1
    catch $a
      i32.const 2
    catch_all
      i32.const 3
    end)

  ;; The handler that a `delegate` names has been left: it does not count.
  (func (export "delegate-in-handler") (param i32) (result i32)
    try (result i32)
      try $left (result i32)
        throw $a
      catch $a
        try
          local.get 0
          call $throw
        delegate $left
        i32.const 1
      catch_all
        i32.const 2
      end
    catch_all
      i32.const 3
    end)

  ;; What a handler jumps over keeps its values.
  (func (export "operands") (param i32) (result i32)
    local.get 0
    i32.const 1
    i32.add
    i32.const 1000
    try (param i32) (result i32)
      local.get 0
      call $throw
    catch $b
      i32.const 3
      i32.mul
    end
    i32.add)

  (func (export "unreachable-code") (result i32)
    try (result i32)
      i32.const 1
      return
      try
        throw $a
      catch $a
        rethrow 0
      catch_all
      end
      try
      delegate 0
    catch_all
      i32.const 2
    end)

  (func (export "mixed-with-the-newer-form") (param i32) (result i32) (local exnref)
    block $kept (result exnref)
      try_table (catch_all_ref $kept)
        try
          local.get 0
          call $throw
        catch $a
          rethrow 0
        end
      end
      i32.const 0
      return
    end
    local.set 1
    try (result i32)
      local.get 1
      throw_ref
    catch $b
      i32.const 1
      i32.add
    catch_all
      i32.const 4
    end)

  (func (export "uncaught") (param i32)
    try
      local.get 0
      call $throw
    catch $a
    end)
)

(assert_return (invoke "empty" (i32.const 4)) (i32.const 4))

(assert_return (invoke "each" (i32.const 0)) (i32.const 0))
(assert_return (invoke "each" (i32.const 1)) (i32.const 1))
(assert_return (invoke "each" (i32.const 2)) (i32.const 21))
(assert_return (invoke "each" (i32.const 3)) (i32.const 31))
(assert_trap (invoke "each" (i32.const 4)) "unreachable")

(assert_return (invoke "all" (i32.const 0)) (i32.const 100))
(assert_return (invoke "all" (i32.const 1)) (i32.const 105))
(assert_return (invoke "all" (i32.const 2)) (i32.const 120))
(assert_return (invoke "all" (i32.const 3)) (i32.const 105))
(assert_trap (invoke "all" (i32.const 4)) "unreachable")

(assert_return (invoke "outwards" (i32.const 0)) (i32.const 10))
(assert_return (invoke "outwards" (i32.const 1)) (i32.const 11))
(assert_return (invoke "outwards" (i32.const 2)) (i32.const 120))
(assert_return (invoke "outwards" (i32.const 3)) (i32.const 9))

(assert_return (invoke "in-handler" (i32.const 0)) (i32.const 1))
(assert_return (invoke "in-handler" (i32.const 1)) (i32.const 3))
(assert_return (invoke "in-handler" (i32.const 3)) (i32.const 3))

(assert_return (invoke "rethrow-inner" (i32.const 0)) (i32.const 0))
(assert_return (invoke "rethrow-inner" (i32.const 1)) (i32.const 7))
(assert_return (invoke "rethrow-inner" (i32.const 2)) (i32.const 20))

(assert_return (invoke "rethrow-outer" (i32.const 0)) (i32.const 50))
(assert_return (invoke "rethrow-outer" (i32.const 1)) (i32.const 21))
(assert_return (invoke "rethrow-outer" (i32.const 3)) (i32.const 21))

(assert_return (invoke "rethrow-in-loop" (i32.const 1)) (i32.const 20))
(assert_return (invoke "rethrow-in-loop" (i32.const 9)) (i32.const 184))

(assert_return (invoke "delegate-to-try" (i32.const 0)) (i32.const 1))
(assert_return (invoke "delegate-to-try" (i32.const 1)) (i32.const 3))
(assert_return (invoke "delegate-to-try" (i32.const 2)) (i32.const 20))

(assert_return (invoke "delegate-to-block" (i32.const 0)) (i32.const 1))
(assert_return (invoke "delegate-to-block" (i32.const 1)) (i32.const 3))

(assert_return (invoke "delegate-to-caller" (i32.const 0)) (i32.const 1))
(assert_return (invoke "delegate-to-caller" (i32.const 1)) (i32.const 2))
(assert_return (invoke "delegate-to-caller" (i32.const 2)) (i32.const 3))

(assert_return (invoke "delegate-in-handler" (i32.const 0)) (i32.const 1))
(assert_return (invoke "delegate-in-handler" (i32.const 1)) (i32.const 3))

(assert_return (invoke "operands" (i32.const 0)) (i32.const 1001))
(assert_return (invoke "operands" (i32.const 2)) (i32.const 63))
(assert_exception (invoke "operands" (i32.const 1)))

(assert_return (invoke "unreachable-code") (i32.const 1))

(assert_return (invoke "mixed-with-the-newer-form" (i32.const 0)) (i32.const 0))
(assert_return (invoke "mixed-with-the-newer-form" (i32.const 1)) (i32.const 4))
(assert_return (invoke "mixed-with-the-newer-form" (i32.const 2)) (i32.const 21))

(assert_return (invoke "uncaught" (i32.const 0)))
(assert_return (invoke "uncaught" (i32.const 1)))
(assert_exception (invoke "uncaught" (i32.const 2)))
(assert_exception (invoke "uncaught" (i32.const 3)))
(assert_trap (invoke "uncaught" (i32.const 4)) "unreachable")

(assert_invalid
  (module (func try catch_all rethrow 1 end))
  "invalid rethrow label")
(assert_invalid
  (module (tag $e (result i32)))
  "non-empty tag result type")
