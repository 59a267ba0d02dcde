//! The instructions: their names, layouts and handlers.

use super::machine::{Handler, OPERANDS};
use super::ops;
use std::sync::OnceLock;

macro_rules! define_ops {
    ($($module:ident { $($name:ident $layout:literal,)* })*) => {
        /// An instruction. Names are those of the handlers.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u16)]
        pub(crate) enum Op {
            $($($name,)*)*
        }

        static HANDLERS: &[Handler] = &[$($(ops::$module::$name,)*)*];
        static ALL: &[Op] = &[$($(Op::$name,)*)*];
        static SIZES: &[u8] = &[$($(size_of_layout($layout),)*)*];

        impl Op {
            /// Name, for people.
            #[cfg(test)]
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $($(Op::$name => stringify!($name),)*)*
                }
            }

            /// Operands in order, one letter each: `d` destination slot, `s` slot (16 bits);
            /// `V`, `v` the same for vectors, whose first slot is named; `D`, `S` a destination slot and a
            /// slot with 32 bits; `i` signed, `u` unsigned immediate, `b` branch offset
            /// (32 bits); `q` 64 bits.
            ///
            /// The slots that an instruction reads or writes as values come first. `s` behind them, `D`
            /// and `S` are where a range of slots begins.
            pub(crate) const fn layout(self) -> &'static str {
                match self {
                    $($(Op::$name => $layout,)*)*
                }
            }
        }
    };
}

impl Op {
    /// The handler.
    #[inline]
    pub(crate) fn handler(self) -> Handler {
        HANDLERS[self as usize]
    }

    /// The instruction that begins with this handler's address. (Instructions that do the same with the same operands
    /// may have one handler, and are not told apart.)
    #[inline]
    pub(crate) fn of_handler(handler: u64) -> Op {
        static BY_HANDLER: OnceLock<ByHandler> = OnceLock::new();
        BY_HANDLER.get_or_init(ByHandler::new).get(handler)
    }

    /// Bytes of the instruction. A `br_table` has its branch offsets behind them.
    #[inline]
    pub(crate) fn size(self) -> usize {
        usize::from(SIZES[self as usize])
    }
}

/// From handlers to instructions.
struct ByHandler {
    /// Open addressing: numbers of instructions, or none.
    slots: Box<[Option<Op>]>,
}

impl ByHandler {
    fn new() -> ByHandler {
        let count = (HANDLERS.len() * 4).next_power_of_two();
        let mut map = ByHandler { slots: vec![None; count].into() };
        for &op in ALL {
            let mut at = map.hash(op.handler() as usize as u64);
            while map.slots[at]
                .is_some_and(|other| other.handler() as usize != op.handler() as usize)
            {
                at = (at + 1) % count;
            }
            map.slots[at] = Some(op);
        }
        map
    }

    /// Handlers are aligned to 16 bytes.
    fn hash(&self, handler: u64) -> usize {
        ((handler >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % self.slots.len()
    }

    #[inline]
    fn get(&self, handler: u64) -> Op {
        let mut at = self.hash(handler);
        loop {
            let op = self.slots[at].expect("instructions begin with handlers");
            if op.handler() as usize as u64 == handler {
                return op;
            }
            at = (at + 1) % self.slots.len();
        }
    }
}

const fn size_of_layout(layout: &str) -> u8 {
    let (bytes, mut at, mut size) = (layout.as_bytes(), 0, OPERANDS as u8);
    while at < bytes.len() {
        size += match bytes[at] {
            b'd' | b's' | b'V' | b'v' => 2,
            b'q' => 8,
            _ => 4,
        };
        at += 1;
    }
    size
}

define_ops! {
    control {
        unreachable "", copy "ds", copy2 "dss", copy_far "DS", copy_span "DSu", copy_imm32 "du", copy_imm64 "dq", select "dsss",
        br "b", br_table "su", return0 "", return1 "ds", return1_imm "dq", return_span "DSu",
        loop_header "uuu", loop_exit "uuu", call_exit "", fuel "q", fuel_for_length "su", count_call "",
    }
    calls {
        call "us", call_far "uS", call_import "us", call_import_far "uS", call_indirect "suuus",
        call_indirect_far "suuuS", call_ref "suus", call_ref_far "suuS",
    }
    exceptions {
        throw "uS", throw_ref "s",
    }
    tail_calls {
        return_call "us", return_call_far "uS", return_call_import "us", return_call_import_far "uS",
        return_call_indirect "suuus", return_call_indirect_far "suuuS",
        return_call_ref "suus", return_call_ref_far "suuS",
    }
    integer {
        i32_add_ss "dss", i32_add_si "dsi", i32_sub_ss "dss", i32_sub_si "dsi", i32_mul_ss "dss",
        i32_mul_si "dsi", i32_and_ss "dss", i32_and_si "dsi", i32_or_ss "dss", i32_or_si "dsi",
        i32_xor_ss "dss", i32_xor_si "dsi", i32_shl_ss "dss", i32_shl_si "dsi", i32_shr_s_ss "dss",
        i32_shr_s_si "dsi", i32_shr_u_ss "dss", i32_shr_u_si "dsi", i32_rotl_ss "dss",
        i32_rotl_si "dsi", i32_rotr_ss "dss", i32_rotr_si "dsi", i32_div_s_ss "dss",
        i32_div_s_si "dsi", i32_div_u_ss "dss", i32_div_u_si "dsi", i32_rem_s_ss "dss",
        i32_rem_s_si "dsi", i32_rem_u_ss "dss", i32_rem_u_si "dsi", i64_add_ss "dss",
        i64_add_si "dsi", i64_sub_ss "dss", i64_sub_si "dsi", i64_mul_ss "dss", i64_mul_si "dsi",
        i64_and_ss "dss", i64_and_si "dsi", i64_or_ss "dss", i64_or_si "dsi", i64_xor_ss "dss",
        i64_xor_si "dsi", i64_shl_ss "dss", i64_shl_si "dsi", i64_shr_s_ss "dss",
        i64_shr_s_si "dsi", i64_shr_u_ss "dss", i64_shr_u_si "dsi", i64_rotl_ss "dss",
        i64_rotl_si "dsi", i64_rotr_ss "dss", i64_rotr_si "dsi", i64_div_s_ss "dss",
        i64_div_s_si "dsi", i64_div_u_ss "dss", i64_div_u_si "dsi", i64_rem_s_ss "dss",
        i64_rem_s_si "dsi", i64_rem_u_ss "dss", i64_rem_u_si "dsi", i32_clz "ds", i32_ctz "ds",
        i32_popcnt "ds", i32_extend8_s "ds", i32_extend16_s "ds", i64_clz "ds", i64_ctz "ds",
        i64_popcnt "ds", i64_extend8_s "ds", i64_extend16_s "ds", i64_extend32_s "ds",
        i32_wrap_i64 "ds",
        i64_add_carries "dss", i64_add3 "dsss", i64_sub3 "dsss", i64_mul_high_s "dss", i64_mul_high_u "dss",
    }
    compare {
        i32_eq_ss "dss", br_if_i32_eq_ss "ssb", i32_ne_ss "dss", br_if_i32_ne_ss "ssb",
        i32_lt_s_ss "dss", br_if_i32_lt_s_ss "ssb", i32_lt_u_ss "dss", br_if_i32_lt_u_ss "ssb",
        i32_le_s_ss "dss", br_if_i32_le_s_ss "ssb", i32_le_u_ss "dss", br_if_i32_le_u_ss "ssb",
        i32_eq_si "dsi", br_if_i32_eq_si "sib", i32_ne_si "dsi", br_if_i32_ne_si "sib",
        i32_lt_s_si "dsi", br_if_i32_lt_s_si "sib", i32_lt_u_si "dsi", br_if_i32_lt_u_si "sib",
        i32_gt_s_si "dsi", br_if_i32_gt_s_si "sib", i32_gt_u_si "dsi", br_if_i32_gt_u_si "sib",
        i32_le_s_si "dsi", br_if_i32_le_s_si "sib", i32_le_u_si "dsi", br_if_i32_le_u_si "sib",
        i32_ge_s_si "dsi", br_if_i32_ge_s_si "sib", i32_ge_u_si "dsi", br_if_i32_ge_u_si "sib",
        i64_eq_ss "dss", br_if_i64_eq_ss "ssb", i64_ne_ss "dss", br_if_i64_ne_ss "ssb",
        i64_lt_s_ss "dss", br_if_i64_lt_s_ss "ssb", i64_lt_u_ss "dss", br_if_i64_lt_u_ss "ssb",
        i64_le_s_ss "dss", br_if_i64_le_s_ss "ssb", i64_le_u_ss "dss", br_if_i64_le_u_ss "ssb",
        i64_eq_si "dsi", br_if_i64_eq_si "sib", i64_ne_si "dsi", br_if_i64_ne_si "sib",
        i64_lt_s_si "dsi", br_if_i64_lt_s_si "sib", i64_lt_u_si "dsi", br_if_i64_lt_u_si "sib",
        i64_gt_s_si "dsi", br_if_i64_gt_s_si "sib", i64_gt_u_si "dsi", br_if_i64_gt_u_si "sib",
        i64_le_s_si "dsi", br_if_i64_le_s_si "sib", i64_le_u_si "dsi", br_if_i64_le_u_si "sib",
        i64_ge_s_si "dsi", br_if_i64_ge_s_si "sib", i64_ge_u_si "dsi", br_if_i64_ge_u_si "sib",
        f32_eq_ss "dss", br_if_f32_eq_ss "ssb", f32_ne_ss "dss", br_if_f32_ne_ss "ssb",
        f32_lt_ss "dss", br_if_f32_lt_ss "ssb", f32_le_ss "dss", br_if_f32_le_ss "ssb",
        br_if_f32_nlt_ss "ssb", br_if_f32_nle_ss "ssb", f64_eq_ss "dss", br_if_f64_eq_ss "ssb",
        f64_ne_ss "dss", br_if_f64_ne_ss "ssb", f64_lt_ss "dss", br_if_f64_lt_ss "ssb",
        f64_le_ss "dss", br_if_f64_le_ss "ssb", br_if_f64_nlt_ss "ssb", br_if_f64_nle_ss "ssb",
        br_if_i32_and_ss "ssb", br_if_i32_nand_ss "ssb", br_if_i32_and_si "sib",
        br_if_i32_nand_si "sib", br_if_nez "sb", br_if_eqz "sb",
    }
    float {
        f32_add_ss "dss", f32_add_si "dsq", f32_add_is "dsq", f32_sub_ss "dss", f32_sub_si "dsq",
        f32_sub_is "dsq", f32_mul_ss "dss", f32_mul_si "dsq", f32_mul_is "dsq", f32_div_ss "dss",
        f32_div_si "dsq", f32_div_is "dsq", f32_min_ss "dss", f32_max_ss "dss",
        f32_copysign_ss "dss", f32_abs "ds", f32_neg "ds", f32_ceil "ds", f32_floor "ds",
        f32_trunc "ds", f32_nearest "ds", f32_sqrt "ds", f64_add_ss "dss", f64_add_si "dsq",
        f64_add_is "dsq", f64_sub_ss "dss", f64_sub_si "dsq", f64_sub_is "dsq", f64_mul_ss "dss",
        f64_mul_si "dsq", f64_mul_is "dsq", f64_div_ss "dss", f64_div_si "dsq", f64_div_is "dsq",
        f64_min_ss "dss", f64_max_ss "dss", f64_copysign_ss "dss", f64_abs "ds", f64_neg "ds",
        f64_ceil "ds", f64_floor "ds", f64_trunc "ds", f64_nearest "ds", f64_sqrt "ds",
    }
    convert {
        f32_convert_i32_s "ds", f32_convert_i32_u "ds", f32_convert_i64_s "ds",
        f32_convert_i64_u "ds", f32_demote_f64 "ds", f64_convert_i32_s "ds", f64_convert_i32_u "ds",
        f64_convert_i64_s "ds", f64_convert_i64_u "ds", f64_promote_f32 "ds", i32_trunc_f32_s "ds",
        i32_trunc_f32_u "ds", i32_trunc_f64_s "ds", i32_trunc_f64_u "ds", i32_trunc_sat_f32_s "ds",
        i32_trunc_sat_f32_u "ds", i32_trunc_sat_f64_s "ds", i32_trunc_sat_f64_u "ds",
        i64_trunc_f32_s "ds", i64_trunc_f32_u "ds", i64_trunc_f64_s "ds", i64_trunc_f64_u "ds",
        i64_trunc_sat_f32_s "ds", i64_trunc_sat_f32_u "ds", i64_trunc_sat_f64_s "ds",
        i64_trunc_sat_f64_u "ds",
    }
    memory {
        load8_u "dsu", load8_u_at "du", load8_u_m "dsuu", load16_u "dsu", load16_u_at "du",
        load16_u_m "dsuu", load32 "dsu", load32_at "du", load32_m "dsuu", load64 "dsu",
        load64_at "du", load64_m "dsuu", i32_load8_s "dsu", i32_load8_s_at "du",
        i32_load8_s_m "dsuu", i32_load16_s "dsu", i32_load16_s_at "du", i32_load16_s_m "dsuu",
        i64_load8_s "dsu", i64_load8_s_at "du", i64_load8_s_m "dsuu", i64_load16_s "dsu",
        i64_load16_s_at "du", i64_load16_s_m "dsuu", i64_load32_s "dsu", i64_load32_s_at "du",
        i64_load32_s_m "dsuu", store8 "ssu", store8_si "siu", store8_at "su", store8_m "ssuu",
        store16 "ssu", store16_si "siu", store16_at "su", store16_m "ssuu", store32 "ssu",
        store32_si "siu", store32_at "su", store32_m "ssuu", store64 "ssu", store64_si "siu",
        store64_at "su", store64_m "ssuu", memory_size "du", memory_size_of "duu", memory_grow "dsu", memory_fill "sssu",
        memory_copy "sssuu", memory_init "sssuu", data_drop "u",
        load8_u_64 "dsqu", load16_u_64 "dsqu", load32_64 "dsqu", load64_64 "dsqu", i32_load8_s_64 "dsqu", i32_load16_s_64 "dsqu", i64_load8_s_64 "dsqu", i64_load16_s_64 "dsqu", i64_load32_s_64 "dsqu", store8_64 "ssqu", store16_64 "ssqu", store32_64 "ssqu", store64_64 "ssqu",
        load8_u_shared "dsqu", load16_u_shared "dsqu", load32_shared "dsqu", load64_shared "dsqu", i32_load8_s_shared "dsqu", i32_load16_s_shared "dsqu", i64_load8_s_shared "dsqu", i64_load16_s_shared "dsqu", i64_load32_s_shared "dsqu", store8_shared "ssqu", store16_shared "ssqu", store32_shared "ssqu", store64_shared "ssqu",
    }
    atomics {
        atomic_load8 "dsqu", atomic_load16 "dsqu", atomic_load32 "dsqu", atomic_load64 "dsqu",
        atomic_store8 "ssqu", atomic_store16 "ssqu", atomic_store32 "ssqu", atomic_store64 "ssqu",
        atomic_add8 "dssqu", atomic_add16 "dssqu", atomic_add32 "dssqu", atomic_add64 "dssqu",
        atomic_sub8 "dssqu", atomic_sub16 "dssqu", atomic_sub32 "dssqu", atomic_sub64 "dssqu",
        atomic_and8 "dssqu", atomic_and16 "dssqu", atomic_and32 "dssqu", atomic_and64 "dssqu",
        atomic_or8 "dssqu", atomic_or16 "dssqu", atomic_or32 "dssqu", atomic_or64 "dssqu",
        atomic_xor8 "dssqu", atomic_xor16 "dssqu", atomic_xor32 "dssqu", atomic_xor64 "dssqu",
        atomic_xchg8 "dssqu", atomic_xchg16 "dssqu", atomic_xchg32 "dssqu", atomic_xchg64 "dssqu",
        atomic_cmpxchg8 "dsssqu", atomic_cmpxchg16 "dsssqu", atomic_cmpxchg32 "dsssqu",
        atomic_cmpxchg64 "dsssqu", atomic_fence "", notify "dssqu", wait32 "uqs", wait32_far "uqS",
        wait64 "uqs", wait64_far "uqS",
    }
    table {
        table_get "dsu", table_set "ssu", table_size "du", table_grow "dssu", table_fill "sssu",
        table_copy "sssuu", table_init "sssuu", elem_drop "u", ref_func "du", ref_is_null "ds",
        ref_as_non_null "s",
        global_get "du", global_set "su", global_get_own "du", global_set_own "su",
    }
    fused {
        i32_shl_add "dssu", i32_mul_add "dssu", i32_shr_u_and "dsuu", load8_u_sum "dssu",
        load8_u_scaled "dssuu", load16_u_sum "dssu", load16_u_scaled "dssuu", load32_sum "dssu",
        load32_scaled "dssuu", load64_sum "dssu", load64_scaled "dssuu", store8_sum "sssu",
        store8_scaled "sssuu", store16_sum "sssu", store16_scaled "sssuu", store32_sum "sssu",
        store32_scaled "sssuu", store64_sum "sssu", store64_scaled "sssuu",
    }
    vector {
        v128_copy "Vv", v128_const "Vqq", v128_select "Vsvv", v128_global_get "Vu",
        v128_global_set "vu", i8x16_shuffle "Vvvqq", i8x16_swizzle "Vvv",
        i32x4_relaxed_dot_i8x16_i7x16_add_s "Vvvv", i8x16_splat "Vs", i16x8_splat "Vs",
        i32x4_splat "Vs", i64x2_splat "Vs", i8x16_extract_lane_s "dvu", i8x16_extract_lane_u "dvu",
        i16x8_extract_lane_s "dvu", i16x8_extract_lane_u "dvu", i32x4_extract_lane "dvu",
        i64x2_extract_lane "dvu", i8x16_replace_lane "Vvsu", i16x8_replace_lane "Vvsu",
        i32x4_replace_lane "Vvsu", i64x2_replace_lane "Vvsu", i8x16_eq "Vvv", i8x16_ne "Vvv",
        i8x16_lt_s "Vvv", i8x16_lt_u "Vvv", i8x16_le_s "Vvv", i8x16_le_u "Vvv", i16x8_eq "Vvv",
        i16x8_ne "Vvv", i16x8_lt_s "Vvv", i16x8_lt_u "Vvv", i16x8_le_s "Vvv", i16x8_le_u "Vvv",
        i32x4_eq "Vvv", i32x4_ne "Vvv", i32x4_lt_s "Vvv", i32x4_lt_u "Vvv", i32x4_le_s "Vvv",
        i32x4_le_u "Vvv", i64x2_eq "Vvv", i64x2_ne "Vvv", i64x2_lt_s "Vvv", i64x2_le_s "Vvv",
        f32x4_eq "Vvv", f32x4_ne "Vvv", f32x4_lt "Vvv", f32x4_le "Vvv", f64x2_eq "Vvv",
        f64x2_ne "Vvv", f64x2_lt "Vvv", f64x2_le "Vvv", v128_not "Vv", i8x16_abs "Vv",
        i8x16_neg "Vv", i8x16_popcnt "Vv", i16x8_abs "Vv", i16x8_neg "Vv", i32x4_abs "Vv",
        i32x4_neg "Vv", i64x2_abs "Vv", i64x2_neg "Vv", f32x4_abs "Vv", f32x4_neg "Vv",
        f32x4_ceil "Vv", f32x4_floor "Vv", f32x4_trunc "Vv", f32x4_nearest "Vv", f32x4_sqrt "Vv",
        f64x2_abs "Vv", f64x2_neg "Vv", f64x2_ceil "Vv", f64x2_floor "Vv", f64x2_trunc "Vv",
        f64x2_nearest "Vv", f64x2_sqrt "Vv", i32x4_trunc_sat_f32x4_s "Vv",
        i32x4_trunc_sat_f32x4_u "Vv", f32x4_convert_i32x4_s "Vv", f32x4_convert_i32x4_u "Vv",
        i32x4_trunc_sat_f64x2_s_zero "Vv", i32x4_trunc_sat_f64x2_u_zero "Vv",
        f64x2_convert_low_i32x4_s "Vv", f64x2_convert_low_i32x4_u "Vv",
        f32x4_demote_f64x2_zero "Vv", f64x2_promote_low_f32x4 "Vv", v128_and "Vvv",
        v128_andnot "Vvv", v128_or "Vvv", v128_xor "Vvv", i8x16_add "Vvv", i8x16_add_sat_s "Vvv",
        i8x16_add_sat_u "Vvv", i8x16_sub "Vvv", i8x16_sub_sat_s "Vvv", i8x16_sub_sat_u "Vvv",
        i8x16_min_s "Vvv", i8x16_min_u "Vvv", i8x16_max_s "Vvv", i8x16_max_u "Vvv",
        i8x16_avgr_u "Vvv", i16x8_add "Vvv", i16x8_add_sat_s "Vvv", i16x8_add_sat_u "Vvv",
        i16x8_sub "Vvv", i16x8_sub_sat_s "Vvv", i16x8_sub_sat_u "Vvv", i16x8_mul "Vvv",
        i16x8_min_s "Vvv", i16x8_min_u "Vvv", i16x8_max_s "Vvv", i16x8_max_u "Vvv",
        i16x8_avgr_u "Vvv", i16x8_q15mulr_sat_s "Vvv", i32x4_add "Vvv", i32x4_sub "Vvv",
        i32x4_mul "Vvv", i32x4_min_s "Vvv", i32x4_min_u "Vvv", i32x4_max_s "Vvv", i32x4_max_u "Vvv",
        i64x2_add "Vvv", i64x2_sub "Vvv", i64x2_mul "Vvv", f32x4_add "Vvv", f32x4_sub "Vvv",
        f32x4_mul "Vvv", f32x4_div "Vvv", f32x4_min "Vvv", f32x4_max "Vvv", f32x4_pmin "Vvv",
        f32x4_pmax "Vvv", f64x2_add "Vvv", f64x2_sub "Vvv", f64x2_mul "Vvv", f64x2_div "Vvv",
        f64x2_min "Vvv", f64x2_max "Vvv", f64x2_pmin "Vvv", f64x2_pmax "Vvv", v128_bitselect "Vvvv",
        f32x4_relaxed_madd "Vvvv", f32x4_relaxed_nmadd "Vvvv", f64x2_relaxed_madd "Vvvv",
        f64x2_relaxed_nmadd "Vvvv", i8x16_shl "Vvs", i8x16_shr_s "Vvs", i8x16_shr_u "Vvs",
        i16x8_shl "Vvs", i16x8_shr_s "Vvs", i16x8_shr_u "Vvs", i32x4_shl "Vvs", i32x4_shr_s "Vvs",
        i32x4_shr_u "Vvs", i64x2_shl "Vvs", i64x2_shr_s "Vvs", i64x2_shr_u "Vvs",
        v128_any_true "dv", i8x16_all_true "dv", i16x8_all_true "dv", i32x4_all_true "dv",
        i64x2_all_true "dv", i8x16_bitmask "dv", i16x8_bitmask "dv", i32x4_bitmask "dv",
        i64x2_bitmask "dv", i16x8_extend_low_i8x16_s "Vv", i16x8_extend_high_i8x16_s "Vv",
        i16x8_extend_low_i8x16_u "Vv", i16x8_extend_high_i8x16_u "Vv",
        i32x4_extend_low_i16x8_s "Vv", i32x4_extend_high_i16x8_s "Vv",
        i32x4_extend_low_i16x8_u "Vv", i32x4_extend_high_i16x8_u "Vv",
        i64x2_extend_low_i32x4_s "Vv", i64x2_extend_high_i32x4_s "Vv",
        i64x2_extend_low_i32x4_u "Vv", i64x2_extend_high_i32x4_u "Vv",
        i16x8_extmul_low_i8x16_s "Vvv", i16x8_extmul_high_i8x16_s "Vvv",
        i16x8_extmul_low_i8x16_u "Vvv", i16x8_extmul_high_i8x16_u "Vvv",
        i32x4_extmul_low_i16x8_s "Vvv", i32x4_extmul_high_i16x8_s "Vvv",
        i32x4_extmul_low_i16x8_u "Vvv", i32x4_extmul_high_i16x8_u "Vvv",
        i64x2_extmul_low_i32x4_s "Vvv", i64x2_extmul_high_i32x4_s "Vvv",
        i64x2_extmul_low_i32x4_u "Vvv", i64x2_extmul_high_i32x4_u "Vvv", i8x16_narrow_i16x8_s "Vvv",
        i8x16_narrow_i16x8_u "Vvv", i16x8_narrow_i32x4_s "Vvv", i16x8_narrow_i32x4_u "Vvv",
        i16x8_extadd_pairwise_i8x16_s "Vv", i16x8_extadd_pairwise_i8x16_u "Vv",
        i32x4_extadd_pairwise_i16x8_s "Vv", i32x4_extadd_pairwise_i16x8_u "Vv",
        i32x4_dot_i16x8_s "Vvv", i16x8_relaxed_dot_i8x16_i7x16_s "Vvv",
    }
    vector_memory {
        v128_load "Vsu", v128_load_m "Vsuu", v128_load8x8_s "Vsu", v128_load8x8_s_m "Vsuu",
        v128_load8x8_u "Vsu", v128_load8x8_u_m "Vsuu", v128_load16x4_s "Vsu",
        v128_load16x4_s_m "Vsuu", v128_load16x4_u "Vsu", v128_load16x4_u_m "Vsuu",
        v128_load32x2_s "Vsu", v128_load32x2_s_m "Vsuu", v128_load32x2_u "Vsu",
        v128_load32x2_u_m "Vsuu", v128_load8_splat "Vsu", v128_load8_splat_m "Vsuu",
        v128_load16_splat "Vsu", v128_load16_splat_m "Vsuu", v128_load32_splat "Vsu",
        v128_load32_splat_m "Vsuu", v128_load64_splat "Vsu", v128_load64_splat_m "Vsuu",
        v128_load32_zero "Vsu", v128_load32_zero_m "Vsuu", v128_load64_zero "Vsu",
        v128_load64_zero_m "Vsuu", v128_load8_lane "Vsvuu", v128_load8_lane_m "Vsvuuu",
        v128_load16_lane "Vsvuu", v128_load16_lane_m "Vsvuuu", v128_load32_lane "Vsvuu",
        v128_load32_lane_m "Vsvuuu", v128_load64_lane "Vsvuu", v128_load64_lane_m "Vsvuuu",
        v128_store8_lane "svuu", v128_store8_lane_m "svuuu", v128_store16_lane "svuu",
        v128_store16_lane_m "svuuu", v128_store32_lane "svuu", v128_store32_lane_m "svuuu",
        v128_store64_lane "svuu", v128_store64_lane_m "svuuu", v128_store "svuu",
        v128_store_m "svuuu",
        v128_load_64 "Vsqu", v128_load8x8_s_64 "Vsqu", v128_load8x8_u_64 "Vsqu", v128_load16x4_s_64 "Vsqu", v128_load16x4_u_64 "Vsqu", v128_load32x2_s_64 "Vsqu", v128_load32x2_u_64 "Vsqu", v128_load8_splat_64 "Vsqu", v128_load16_splat_64 "Vsqu", v128_load32_splat_64 "Vsqu", v128_load64_splat_64 "Vsqu", v128_load32_zero_64 "Vsqu", v128_load64_zero_64 "Vsqu", v128_load8_lane_64 "Vsvquu", v128_load16_lane_64 "Vsvquu", v128_load32_lane_64 "Vsvquu", v128_load64_lane_64 "Vsvquu", v128_store8_lane_64 "svquu", v128_store16_lane_64 "svquu", v128_store32_lane_64 "svquu", v128_store64_lane_64 "svquu", v128_store_64 "svquu",
        v128_load_shared "Vsqu", v128_load8x8_s_shared "Vsqu", v128_load8x8_u_shared "Vsqu", v128_load16x4_s_shared "Vsqu", v128_load16x4_u_shared "Vsqu", v128_load32x2_s_shared "Vsqu", v128_load32x2_u_shared "Vsqu", v128_load8_splat_shared "Vsqu", v128_load16_splat_shared "Vsqu", v128_load32_splat_shared "Vsqu", v128_load64_splat_shared "Vsqu", v128_load32_zero_shared "Vsqu", v128_load64_zero_shared "Vsqu", v128_load8_lane_shared "Vsvquu", v128_load16_lane_shared "Vsvquu", v128_load32_lane_shared "Vsvquu", v128_load64_lane_shared "Vsvquu", v128_store8_lane_shared "svquu", v128_store16_lane_shared "svquu", v128_store32_lane_shared "svquu", v128_store64_lane_shared "svquu", v128_store_shared "svquu",
    }
}
