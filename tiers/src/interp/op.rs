//! The instructions: their names, layouts and handlers.

use super::machine::Handler;
use super::ops;

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

        impl Op {
            /// Name, for people.
            #[cfg(test)]
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $($(Op::$name => stringify!($name),)*)*
                }
            }

            /// Operands in order, one letter each: `d` destination slot, `s` slot (16 bits);
            /// `D`, `S` the same with 32 bits; `i` signed, `u` unsigned immediate, `b` branch offset
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
        store64_at "su", store64_m "ssuu", memory_size "du", memory_grow "dsu", memory_fill "sssu",
        memory_copy "sssuu", memory_init "sssuu", data_drop "u",
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
}
