;; The Internet checksum (RFC 1071), and the same while copying, in SIMD: `Sum` and `CopySum` of ../sum.ts over an imported
;; memory. A sum of words with their bytes the other way round is the sum with its bytes the other way round, so all is added
;; up in WebAssembly's little-endian order and swapped at the end. An odd last byte then is a word's low half.
;; Then what is done to all segments of a super-frame at once: `Cut` and `Join` of ../bulk.ts.
;;
;; scripts/wasm.mjs compiles this to module.generated.ts.
(module
  (import "env" "memory" (memory 1))

  ;; Folds what was added up to 16 bits, swaps them, adds the initial sum and folds again. Each turn takes 16 bits away, and
  ;; the third the last carry.
  (func $finish (param $total i64) (param $initial i32) (result i32)
    (local.set $total (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16))))
    (local.set $total (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16))))
    (local.set $total (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16))))
    (local.set $total
      (i64.add
        (i64.extend_i32_u (local.get $initial))
        (i64.or
          (i64.shl (i64.and (local.get $total) (i64.const 0xff)) (i64.const 8))
          (i64.shr_u (local.get $total) (i64.const 8)))))
    (local.set $total (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16))))
    (local.set $total (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16))))
    (i32.wrap_i64
      (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16)))))

  ;; The four lanes, each up to 2^32, as one number.
  (func $lanes (param $v v128) (result i64)
    (i64.add
      (i64.add
        (i64.extend_i32_u (i32x4.extract_lane 0 (local.get $v)))
        (i64.extend_i32_u (i32x4.extract_lane 1 (local.get $v))))
      (i64.add
        (i64.extend_i32_u (i32x4.extract_lane 2 (local.get $v)))
        (i64.extend_i32_u (i32x4.extract_lane 3 (local.get $v))))))

  (func $sum (export "sum") (param $at i32) (param $length i32) (param $initial i32) (result i32)
    (local $a v128) (local $b v128) (local $total i64) (local $word i64)
    ;; 64 bytes a turn, into two sums that do not wait for each other.
    (block $done64
      (br_if $done64 (i32.lt_u (local.get $length) (i32.const 64)))
      (loop $next64
        (local.set $a (i32x4.add (local.get $a)
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=0 align=1 (local.get $at)))))
        (local.set $b (i32x4.add (local.get $b)
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=16 align=1 (local.get $at)))))
        (local.set $a (i32x4.add (local.get $a)
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=32 align=1 (local.get $at)))))
        (local.set $b (i32x4.add (local.get $b)
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=48 align=1 (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 64)))
        (local.set $length (i32.sub (local.get $length) (i32.const 64)))
        (br_if $next64 (i32.ge_u (local.get $length) (i32.const 64)))))
    (block $done16
      (br_if $done16 (i32.lt_u (local.get $length) (i32.const 16)))
      (loop $next16
        (local.set $a (i32x4.add (local.get $a)
          (i32x4.extadd_pairwise_i16x8_u (v128.load align=1 (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (local.set $length (i32.sub (local.get $length) (i32.const 16)))
        (br_if $next16 (i32.ge_u (local.get $length) (i32.const 16)))))
    (local.set $total (i64.add (call $lanes (local.get $a)) (call $lanes (local.get $b))))
    (if (i32.and (local.get $length) (i32.const 8))
      (then
        (local.set $word (i64.load align=1 (local.get $at)))
        (local.set $total
          (i64.add (local.get $total)
            (i64.add
              (i64.and (local.get $word) (i64.const 0xffffffff))
              (i64.shr_u (local.get $word) (i64.const 32)))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))))
    (if (i32.and (local.get $length) (i32.const 4))
      (then
        (local.set $total (i64.add (local.get $total) (i64.load32_u align=1 (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))))
    (if (i32.and (local.get $length) (i32.const 2))
      (then
        (local.set $total (i64.add (local.get $total) (i64.load16_u align=1 (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))))
    (if (i32.and (local.get $length) (i32.const 1))
      (then (local.set $total (i64.add (local.get $total) (i64.load8_u (local.get $at))))))
    (call $finish (local.get $total) (local.get $initial)))

  (func $copySum (export "copySum") (param $at i32) (param $to i32) (param $length i32) (param $initial i32) (result i32)
    (local $a v128) (local $b v128) (local $v v128) (local $total i64) (local $word i64)
    (block $done32
      (br_if $done32 (i32.lt_u (local.get $length) (i32.const 32)))
      (loop $next32
        (local.set $v (v128.load offset=0 align=1 (local.get $at)))
        (v128.store offset=0 align=1 (local.get $to) (local.get $v))
        (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (local.get $v))))
        (local.set $v (v128.load offset=16 align=1 (local.get $at)))
        (v128.store offset=16 align=1 (local.get $to) (local.get $v))
        (local.set $b (i32x4.add (local.get $b) (i32x4.extadd_pairwise_i16x8_u (local.get $v))))
        (local.set $at (i32.add (local.get $at) (i32.const 32)))
        (local.set $to (i32.add (local.get $to) (i32.const 32)))
        (local.set $length (i32.sub (local.get $length) (i32.const 32)))
        (br_if $next32 (i32.ge_u (local.get $length) (i32.const 32)))))
    (if (i32.and (local.get $length) (i32.const 16))
      (then
        (local.set $v (v128.load align=1 (local.get $at)))
        (v128.store align=1 (local.get $to) (local.get $v))
        (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (local.get $v))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (local.set $to (i32.add (local.get $to) (i32.const 16)))))
    (local.set $total (i64.add (call $lanes (local.get $a)) (call $lanes (local.get $b))))
    (if (i32.and (local.get $length) (i32.const 8))
      (then
        (local.set $word (i64.load align=1 (local.get $at)))
        (i64.store align=1 (local.get $to) (local.get $word))
        (local.set $total
          (i64.add (local.get $total)
            (i64.add
              (i64.and (local.get $word) (i64.const 0xffffffff))
              (i64.shr_u (local.get $word) (i64.const 32)))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $to (i32.add (local.get $to) (i32.const 8)))))
    (if (i32.and (local.get $length) (i32.const 4))
      (then
        (local.set $word (i64.load32_u align=1 (local.get $at)))
        (i64.store32 align=1 (local.get $to) (local.get $word))
        (local.set $total (i64.add (local.get $total) (local.get $word)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (local.set $to (i32.add (local.get $to) (i32.const 4)))))
    (if (i32.and (local.get $length) (i32.const 2))
      (then
        (local.set $word (i64.load16_u align=1 (local.get $at)))
        (i64.store16 align=1 (local.get $to) (local.get $word))
        (local.set $total (i64.add (local.get $total) (local.get $word)))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))
        (local.set $to (i32.add (local.get $to) (i32.const 2)))))
    (if (i32.and (local.get $length) (i32.const 1))
      (then
        (local.set $word (i64.load8_u (local.get $at)))
        (i64.store8 (local.get $to) (local.get $word))
        (local.set $total (i64.add (local.get $total) (local.get $word)))))
    (call $finish (local.get $total) (local.get $initial)))

  ;; A word in network order.
  (func $get16 (param $at i32) (result i32)
    (i32.or
      (i32.shl (i32.load8_u (local.get $at)) (i32.const 8))
      (i32.load8_u offset=1 (local.get $at))))

  (func $put16 (param $at i32) (param $word i32)
    (i32.store8 (local.get $at) (i32.shr_u (local.get $word) (i32.const 8)))
    (i32.store8 offset=1 (local.get $at) (local.get $word)))

  (func (export "cut")
    (param $head i32) (param $headLength i32) (param $ip i32) (param $upper i32) (param $field i32)
    (param $data i32) (param $size i32) (param $count i32) (param $to i32)
    (param $id i32) (param $step i32) (param $sequence i32) (param $ipSum i32) (param $upperSum i32)
    (result i32)
    (local $i i32) (local $at i32) (local $word i32)
    (block $done
      (br_if $done (i32.eqz (local.get $count)))
      (loop $next
        ;; The head, 16 bytes a turn; what is too much is overwritten by the data.
        (local.set $i (i32.const 0))
        (loop $copy
          (v128.store align=1
            (i32.add (local.get $to) (local.get $i))
            (v128.load align=1 (i32.add (local.get $head) (local.get $i))))
          (local.set $i (i32.add (local.get $i) (i32.const 16)))
          (br_if $copy (i32.lt_u (local.get $i) (local.get $headLength))))
        (if (i32.ge_s (local.get $ip) (i32.const 0))
          (then
            (local.set $at (i32.add (local.get $to) (local.get $ip)))
            (call $put16 (i32.add (local.get $at) (i32.const 4)) (local.get $id))
            (local.set $word (i32.add (local.get $ipSum) (local.get $id)))
            (local.set $word
              (i32.add (i32.and (local.get $word) (i32.const 0xffff)) (i32.shr_u (local.get $word) (i32.const 16))))
            (local.set $word
              (i32.add (i32.and (local.get $word) (i32.const 0xffff)) (i32.shr_u (local.get $word) (i32.const 16))))
            (call $put16 (i32.add (local.get $at) (i32.const 10)) (i32.xor (local.get $word) (i32.const 0xffff)))
            (local.set $id (i32.and (i32.add (local.get $id) (local.get $step)) (i32.const 0xffff)))))
        (local.set $at (i32.add (local.get $to) (local.get $upper)))
        (local.set $word (local.get $upperSum))
        (if (i32.eq (local.get $field) (i32.const 16))
          (then
            (call $put16 (i32.add (local.get $at) (i32.const 4)) (i32.shr_u (local.get $sequence) (i32.const 16)))
            (call $put16 (i32.add (local.get $at) (i32.const 6)) (local.get $sequence))
            (local.set $word
              (i32.add
                (local.get $word)
                (i32.add
                  (i32.shr_u (local.get $sequence) (i32.const 16))
                  (i32.and (local.get $sequence) (i32.const 0xffff)))))
            (local.set $sequence (i32.add (local.get $sequence) (local.get $size)))))
        (local.set $to (i32.add (local.get $to) (local.get $headLength)))
        (local.set $word
          (i32.xor
            (call $copySum (local.get $data) (local.get $to) (local.get $size) (local.get $word))
            (i32.const 0xffff)))
        ;; UDP says 0xffff for a sum of 0, which would say that there is none (RFC 768).
        (if (i32.and (i32.eqz (local.get $word)) (i32.ne (local.get $field) (i32.const 16)))
          (then (local.set $word (i32.const 0xffff))))
        (call $put16 (i32.add (local.get $at) (local.get $field)) (local.get $word))
        (local.set $data (i32.add (local.get $data) (local.get $size)))
        (local.set $to (i32.add (local.get $to) (local.get $size)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br_if $next (local.get $count))))
    (local.get $to))

  (func (export "join")
    (param $head i32) (param $mask i32) (param $headLength i32) (param $ip i32) (param $upper i32) (param $field i32)
    (param $next i32) (param $size i32) (param $count i32) (param $to i32)
    (param $id i32) (param $step i32) (param $sequence i32) (param $upperSum i32)
    (result i32)
    (local $i i32) (local $at i32) (local $word i32) (local $joined i32)
    (local.set $size (i32.sub (local.get $size) (local.get $headLength)))
    (block $done
      (loop $again
        (br_if $done (i32.ge_u (local.get $joined) (local.get $count)))
        (local.set $i (i32.const 0))
        (loop $compare
          (br_if $done
            (v128.any_true
              (v128.and
                (v128.xor
                  (v128.load align=1 (i32.add (local.get $head) (local.get $i)))
                  (v128.load align=1 (i32.add (local.get $next) (local.get $i))))
                (v128.load align=1 (i32.add (local.get $mask) (local.get $i))))))
          (local.set $i (i32.add (local.get $i) (i32.const 16)))
          (br_if $compare (i32.lt_u (local.get $i) (local.get $headLength))))
        (if (i32.ge_s (local.get $ip) (i32.const 0))
          (then
            (local.set $at (i32.add (local.get $next) (local.get $ip)))
            (br_if $done (i32.ne (call $get16 (i32.add (local.get $at) (i32.const 4))) (local.get $id)))
            (br_if $done (i32.eq (call $get16 (i32.add (local.get $at) (i32.const 10))) (i32.const 0xffff)))
            (br_if $done
              (i32.ne
                (call $sum (local.get $at) (i32.sub (local.get $upper) (local.get $ip)) (i32.const 0))
                (i32.const 0xffff)))
            (local.set $id (i32.and (i32.add (local.get $id) (local.get $step)) (i32.const 0xffff)))))
        (local.set $at (i32.add (local.get $next) (local.get $upper)))
        (local.set $word (call $get16 (i32.add (local.get $at) (local.get $field))))
        (if (i32.eq (local.get $field) (i32.const 16))
          (then
            (br_if $done
              (i32.ne
                (i32.or
                  (i32.shl (call $get16 (i32.add (local.get $at) (i32.const 4))) (i32.const 16))
                  (call $get16 (i32.add (local.get $at) (i32.const 6))))
                (local.get $sequence)))
            (br_if $done (i32.eq (local.get $word) (i32.const 0xffff)))
            (local.set $sequence (i32.add (local.get $sequence) (local.get $size))))
          (else (br_if $done (i32.eqz (local.get $word)))))
        (local.set $next (i32.add (local.get $next) (local.get $headLength)))
        (local.set $word
          (call $sum
            (local.get $at)
            (i32.sub (local.get $next) (local.get $at))
            (local.get $upperSum)))
        (br_if $done
          (i32.ne
            (call $copySum (local.get $next) (local.get $to) (local.get $size) (local.get $word))
            (i32.const 0xffff)))
        (local.set $next (i32.add (local.get $next) (local.get $size)))
        (local.set $to (i32.add (local.get $to) (local.get $size)))
        (local.set $joined (i32.add (local.get $joined) (i32.const 1)))
        (br $again)))
    (local.get $joined)))
